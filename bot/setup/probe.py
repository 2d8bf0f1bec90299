"""Builds the settings as a start would, and writes what is wrong to stdout: `python -m
bot.setup.probe`."""

import sys

from bot.app import start
from core.base.errors import PonteError

if __name__ == "__main__":
    try:
        start(quiet=True)
    except PonteError as error:
        sys.stdout.write(error.words())
        sys.exit(1)
