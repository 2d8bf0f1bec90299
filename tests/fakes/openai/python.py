"""The Python of a container: names that live on from run to run, files under /mnt/data.

It runs what the tests themselves wrote, in the tests' own process, so it is no sandbox.
"""

from __future__ import annotations

import ast
import contextlib
import io
import posixpath
import traceback
from collections.abc import Callable
from typing import IO, Any

FOLDER = "/mnt/data"


class Python:
    """`files` are the container's, by path; `write` is told of each that the code makes."""

    def __init__(self, files: dict[str, bytes], write: Callable[[str, bytes], None]) -> None:
        self._files = files
        self._write = write
        self._names: dict[str, Any] = {"__name__": "__main__", "open": self._open}

    def run(self, code: str) -> str:
        """What it printed, the last expression's value, or a traceback at the end."""
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            try:
                self._run(code)
            except Exception as error:
                inner = error.__traceback__.tb_next if error.__traceback__ else None
                traceback.print_exception(type(error), error, inner and inner.tb_next)
        return output.getvalue()

    def _run(self, code: str) -> None:
        tree = ast.parse(code, "<cell>")
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "<cell>", "exec"), self._names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), self._names)
            if value is not None:
                print(repr(value))

    def _open(self, name: str, mode: str = "r", **_: object) -> IO[Any]:
        path = posixpath.join(FOLDER, name)
        if "w" in mode:
            file: io.BytesIO = _Written(path, self._write)
        elif path in self._files:
            file = io.BytesIO(self._files[path])
        else:
            raise FileNotFoundError(2, "No such file or directory", name)
        return file if "b" in mode else io.TextIOWrapper(file, "utf-8")


class _Written(io.BytesIO):
    def __init__(self, path: str, write: Callable[[str, bytes], None]) -> None:
        super().__init__()
        self._path = path
        self._keep = write

    def close(self) -> None:
        if not self.closed:
            self._keep(self._path, self.getvalue())
        super().close()
