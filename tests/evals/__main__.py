"""`make evals`: all cases with the scripted models, or with the model of a server (MODEL).

With a server, AREA runs the cases of one file, and MEANINGS=off leaves out what ponte.toml says
that fields mean.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from dataclasses import replace

import structlog

from bot.settings import load
from core.base.errors import PonteError
from tests.evals import live, offline
from tests.evals.case import read_cases


async def _evaluate(model: str) -> int:
    price = live.parse_price(os.environ["PRICE"]) if os.environ.get("PRICE") else None
    budget, trials = float(os.environ.get("BUDGET", "1")), int(os.environ.get("K", "1"))
    choice = await live.choose_model(load(), model, price, budget)
    cases = [case for case in read_cases() if case.area == os.environ.get("AREA", case.area)]
    if os.environ.get("MEANINGS") == "off":
        cases = [replace(case, config="") if case.area == "meanings" else case for case in cases]
    return await live.evaluate(choice, cases, trials, lambda line: print(line, flush=True))


structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
try:
    model = os.environ.get("MODEL")
    sys.exit(asyncio.run(_evaluate(model)) if model else offline.main())
except PonteError as error:
    sys.exit(error.words())
