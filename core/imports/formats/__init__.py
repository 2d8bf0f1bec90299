"""The files that hold tables, each read as a list of `SheetCells`. The process that reads a file
loads these modules: they import nothing of Ponte but each other and `core.base.file_text`."""
