"""What must not work in a sandbox, one function an attack, each module a program by itself.

A module's text is sent into the sandbox and its functions are called there with what they need to
know of the outside (`Outside`). An attack returns "" or raises OSError or MemoryError where it was
held, and else says what it could do. Each stops by itself at a bound that a machine can bear.
"""
