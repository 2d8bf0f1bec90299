"""What a sandboxed process does to itself before it runs anything: the standard library alone.

This folder, and nothing else of Ponte's, can be read from inside the sandbox. It is run by the
interpreter of the sandbox's own environment, as `python -I -c START folder configuration`.
"""

START_PROGRAM = "import sys; sys.path.insert(0, sys.argv[1]); from inside.enter import main; main()"
