"""`make evals`: all cases with the scripted models, and the cassettes of a folder."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import structlog

from tests.evals.offline import main

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
folder = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("cassettes")
sys.exit(main(Path(folder)))
