"""The program that a person starts. It composes core and adapters."""

__version__ = "0.2.0"
