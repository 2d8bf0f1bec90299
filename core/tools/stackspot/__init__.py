"""StackSpot AI: quick commands and agents; `StackSpot` also stands alone."""

from core.proxies import Proxies
from core.tools.stackspot.client import StackSpot
from core.tools.stackspot.error import StackSpotError, StillRunning
from core.tools.stackspot.result import Result

__all__ = ["Proxies", "Result", "StackSpot", "StackSpotError", "StillRunning"]
