"""StackSpot AI: quick commands and agents; `StackSpot` also stands alone."""

from core.http import Proxies
from core.tools.stackspot.api import StackSpotError, StillRunning
from core.tools.stackspot.client import StackSpot
from core.tools.stackspot.execution import Result

__all__ = ["Proxies", "Result", "StackSpot", "StackSpotError", "StillRunning"]
