"""A strict StackSpot on loopback: realms, tokens that end, quick commands, agents, troubles.

`FakeStackSpot` runs in the test's loop; `python -m tests.fakes.stackspot --port N` as a process.
"""

from tests.fakes.stackspot.script import Look, Run
from tests.fakes.stackspot.server import FakeStackSpot
from tests.fakes.stackspot.state import SECRET, Trouble

__all__ = ["SECRET", "FakeStackSpot", "Look", "Run", "Trouble"]
