"""What stands in the way of a run at OpenAI, in words for who must act."""

from __future__ import annotations

import math
from collections.abc import Sequence

import structlog

from core.errors import NoKey, NoQuota, RateLimited, ToolError, WrongKey
from core.openai import Fault
from core.tools.code.hosted.execution import Execution

log = structlog.get_logger("code")
BUSY = 20.0
"""Seconds that a person is told to wait where the server names none."""
NO_MODEL = "The model {model!r} is not known to the server. The operator must set PONTE_CODE_MODEL."
NOWHERE = (
    "The model's server has no containers to run code in. The operator must set PONTE_CODE to "
    "local, or to off."
)
UNFIT = "The model {model!r} cannot run code. The operator must set PONTE_CODE_MODEL to another."
POLICY = "OpenAI refuses to run this code: it is against its usage policies."
LOST = "OpenAI did not answer to the end, so it is not known whether the code ran."
AWAY = "OpenAI cannot run code just now. Nothing ran; try again in a minute."
ODD = "OpenAI refused to run the code ({reason}). Please tell the operator."
DECLINED = "The model declined to run this code."
NOT_RUN = "The model did not run the code. Please ask again."
UNSAID = "OpenAI does not say which code ran"
BROKEN = "OpenAI ended the run before the code came to its end"
CUT = "The code is too long to be run there in one piece. Please run it in smaller ones."


def worded(fault: Fault, model: str) -> ToolError:
    log.warning("code not run", fault=str(fault), request=fault.request)
    if fault.quota:
        return ToolError(NoQuota.sentence, code="no_quota")
    if fault.no_model:
        return ToolError(NO_MODEL, code="unknown_model", model=model)
    if fault.policy:
        return ToolError(POLICY, code="refused", hint="do not try to get around it")
    if fault.status in (401, 403):
        return ToolError(WrongKey.sentence, code="wrong_key")
    if fault.status == 429 or fault.code == "rate_limit_exceeded":
        seconds = math.ceil(fault.wait or BUSY)
        return ToolError(RateLimited.sentence, code="rate_limited", seconds=seconds)
    if fault.status in (404, 405, 501):
        return ToolError(NOWHERE, code="no_containers")
    if fault.status == 400 and fault.param.startswith(("tools", "tool_choice")):
        return ToolError(UNFIT, code="unfit_model", model=model)
    if fault.kind == "lost":
        return ToolError(LOST, code="unknown", hint="do not repeat it by yourself")
    if fault.kind == "refused" and fault.status < 500:
        return ToolError(ODD, code="refused", reason=fault.code or f"HTTP {fault.status}")
    return ToolError(AWAY, code="model_down")


def no_key() -> ToolError:
    return ToolError(NoKey.sentence, code="no_key")


def unexecuted(execution: Execution) -> ToolError | None:
    """Why an answer came without any code having run; None where some did."""
    if execution.codes:
        return None
    if execution.ended == "content_filter":
        return ToolError(POLICY, code="refused", hint="do not try to get around it")
    if execution.ended:
        return ToolError(CUT, code="too_long")
    said = (execution.refusal or execution.text)[:500]
    if execution.refusal:
        return ToolError(DECLINED, code="refused", hint=said)
    return ToolError(NOT_RUN, code="not_run", hint=said)


def missing(execution: Execution) -> Sequence[str]:
    """What the server does not tell of a run, in words."""
    unsaid = [UNSAID] if "" in execution.codes else []
    return [*unsaid, BROKEN] if execution.broken else unsaid
