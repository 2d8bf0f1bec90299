"""Evaluations: does the model do the right thing with what Ponte tells it?

Each case in `cases` is a short conversation, and the state that must hold after it: rows, cards,
audit lines, posts, runs and cost. `make evals` runs the cases with scripted models, or with the
model of a server. Ponte is whole each time; only the services behind it are doubles.
"""
