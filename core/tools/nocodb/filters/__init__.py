"""Which rows are meant: from what a model gives to what NocoDB is asked."""
