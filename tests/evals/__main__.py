"""`make evals`: all cases with the scripted models, without a network."""

from __future__ import annotations

import logging
import sys

import structlog

from tests.evals.offline import main

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
sys.exit(main())
