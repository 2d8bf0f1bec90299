"""The program that a person starts."""

__version__ = "0.3.0"
