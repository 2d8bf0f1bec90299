"""The errors of Python runs at OpenAI: one table from faults to sentences."""

from __future__ import annotations

import math

import structlog

from core.clients.error_table import ErrorTable, on
from core.clients.http import RemoteError
from core.clients.openai import ModelServerFault
from core.domain.errors import NoQuota, RateLimited, ToolError, WrongKey
from core.tools.code.hosted_response import HostedExecution

log = structlog.get_logger("code")

HOSTED_DEFAULT_WAIT_SECONDS = 20.0
"""Seconds that a person is asked to wait if the server names no time."""
SERVER_ERROR_CODES = (
    "no_key",
    "wrong_key",
    "no_quota",
    "unknown_model",
    "no_containers",
    "unfit_model",
)
"""Errors that concern the server and not one run."""
UNKNOWN_CODE_MODEL = (
    "The model's server does not have the model {model!r}. Check the setting PONTE_CODE_MODEL."
)
NO_CONTAINERS = "The model's server has no containers to run code. Set PONTE_CODE to local or off."
UNFIT_MODEL = "The model {model!r} can't run code. Set PONTE_CODE_MODEL to another model."
POLICY_REFUSAL = "OpenAI rejected this code because it violates its usage policies."
RUN_UNKNOWN = "OpenAI's response was cut off, so I don't know whether the code ran."
SERVER_DOWN = "OpenAI can't run code right now. Nothing was run. Try again in a minute."
RUN_REFUSED = "OpenAI rejected the code ({reason}). Contact the person who runs Ponte."
NO_DETOUR = "do not try to get around it"
DECLINED = "The model declined to run this code."
NOT_RUN = "The model did not run the code. Ask again."
CODE_CUT = "The code is too long to run at once. Run it in smaller parts."


def _names_tools(fault: ModelServerFault) -> bool:
    return fault.param.startswith(("tools", "tool_choice"))


HOSTED_ERRORS = ErrorTable(
    RemoteError,
    on(when=lambda fault: fault.is_quota_exhausted).raises("no_quota", NoQuota.sentence),
    on(when=lambda fault: fault.is_unknown_model).raises("unknown_model", UNKNOWN_CODE_MODEL),
    on(when=lambda fault: fault.is_policy_refusal).raises(
        "refused", POLICY_REFUSAL, hint=NO_DETOUR
    ),
    on(401, 403).raises("wrong_key", WrongKey.sentence),
    on(when=lambda fault: fault.is_rate_limited).raises(
        "rate_limited", RateLimited.sentence,
        values=lambda fault: {"seconds": math.ceil(fault.wait or HOSTED_DEFAULT_WAIT_SECONDS)},
    ),
    on(404, 405, 501).raises("no_containers", NO_CONTAINERS),
    on(400, when=_names_tools).raises("unfit_model", UNFIT_MODEL),
    on("lost", "excess").raises(
        "unknown", RUN_UNKNOWN, hint="do not repeat it by yourself", outcome_unknown=True
    ),
    on("refused", when=lambda fault: fault.status < 500).raises(
        "refused", RUN_REFUSED,
        values=lambda fault: {"reason": fault.code or f"HTTP {fault.status}"},
    ),
    on().raises("model_down", SERVER_DOWN),
)  # fmt: skip


def explain_hosted_fault(fault: ModelServerFault, model: str) -> ToolError:
    """Return the error for the model and the person, and log the fault."""
    log.warning("could not run code", error=str(fault), request_id=fault.request)
    return HOSTED_ERRORS.explain(fault, model=model)


def explain_no_run(execution: HostedExecution) -> ToolError | None:
    """Return the error of an answer without a run, or None if code ran."""
    if execution.codes:
        return None
    if execution.ended == "content_filter":
        return ToolError(POLICY_REFUSAL, code="refused", hint=NO_DETOUR)
    if execution.ended:
        return ToolError(CODE_CUT, code="too_long")
    said = (execution.refusal or execution.text)[:500]
    if execution.refusal:
        return ToolError(DECLINED, code="refused", hint=said)
    return ToolError(NOT_RUN, code="not_run", hint=said)
