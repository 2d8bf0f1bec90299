"""A strict OpenAI on loopback: what it emits is checked against the openai package's own types.

`FakeOpenAI` runs in the test's loop; `python -m tests.fakes.openai --port N` runs it as a process.
"""

from tests.fakes.openai.script import Script
from tests.fakes.openai.server import FakeOpenAI

__all__ = ["FakeOpenAI", "Script"]
