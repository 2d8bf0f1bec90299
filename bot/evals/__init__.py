"""Evaluations: does the model do the right thing with what Ponte tells it?

Each case in `cases` is a short conversation, and the state that must hold after it: rows, cards,
audit lines, posts, runs and cost. `ponte eval` runs the cases with the configured model, `make
evals` with scripted ones. Ponte is whole each time; only the services behind it are doubles.
"""
