"""`ponte doctor`: writes a line for each finding of the running Ponte, or of the checks here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import asdict

from bot.cli.client import connect
from bot.doctor.checks import check_everything
from bot.home import Start
from core.base.errors import PonteError
from core.base.i18n import say, translate_word
from core.base.json_text import to_json_line
from core.base.text import to_one_line
from core.domain.records import DoctorFinding, ModelRequests

RUNNING_SENTENCE = "process {pid} is running with {home}; these are its settings"
SILENT_SENTENCE = (
    "process {pid} is running with {home} but doesn't respond; these are this folder's settings"
)
NOT_RUNNING_SENTENCE = "not running with {home}; these are this folder's settings"
SILENCE_SECONDS = 5.0
"""The timeout of the first request to a running Ponte."""
_MARKS = {"on": "ok", "off": "off", "note": "note", "failing": "FAIL"}
"""The word with which a finding's line begins, by its state."""


async def examine(start: Start, write: Callable[[str], None], *, as_json: bool = False) -> int:
    """Write a line for each part. Return the exit code: 1 if a part fails or is unsafe, else 0."""
    return int("failing" in await _write_findings(_check(start), write, as_json=as_json))


async def try_model(
    start: Start,
    write: Callable[[str], None],
    confirm: Callable[[], None],
    *,
    as_json: bool = False,
) -> int:
    """Send the model three or four paid requests and write what works. First write a line that
    announces them, and call `confirm`, which may raise. Return the exit code: 1 if something does
    not work, else 0."""
    # "announce" finds a note about the cost.
    states = await _write_findings(_check(start, "announce"), write, as_json=as_json)
    if "note" in states:  # else the demo model answers, and nothing is sent
        confirm()
        states = await _write_findings(_check(start, "send"), write, as_json=as_json)
    return int("failing" in states)


async def _write_findings(
    findings: AsyncIterator[DoctorFinding], write: Callable[[str], None], *, as_json: bool
) -> set[str]:
    """Write a line for each finding, or with `as_json` a JSON object. Return their states."""
    states = set[str]()
    async for finding in findings:
        states.add(finding.state)
        mark = translate_word(_MARKS[finding.state])
        words = say("{name}: {what}", name=translate_word(finding.part), what=finding.words)
        line = f"{mark:<4}  {to_one_line(words)}"  # a server may name its models as it likes
        write(to_json_line(asdict(finding)) if as_json else line)
    return states


async def _check(start: Start, *model: ModelRequests) -> AsyncIterator[DoctorFinding]:
    """Yield what the running Ponte finds, because its settings may differ from those of this shell;
    if none can tell, what the settings of this folder lead to. With `model` ("announce" or "send"),
    only announce requests to the model, or make them. Raises SettingsError, and PonteError if a
    running Ponte was to make them and its answer is lost."""
    home, findings = start.home, None
    ponte = DoctorFinding("ponte", "off", say(NOT_RUNNING_SENTENCE, home=home.path))
    if home.is_served():
        values = {"pid": home.holder(), "home": home.path}
        ponte = DoctorFinding("ponte", "failing", say(SILENT_SENTENCE, **values))
        has_responded = False
        try:
            with home.address() as socket:
                async with connect(socket, start) as holder:
                    # A request that takes no time: does the process respond?
                    await holder.run_operation("names", timeout=SILENCE_SECONDS)
                    has_responded = True
                    findings = await holder.run_operation("doctor", model=model)
            ponte = DoctorFinding("ponte", "on", say(RUNNING_SENTENCE, **values))
        except PonteError:
            # Paid requests that the process may have made are not repeated here.
            if has_responded and "send" in model:
                raise
    # Without a running Ponte, ponte.toml on disk counts; `fault` says that it has errors.
    if findings is None and start.fault:
        raise start.fault
    if not model:
        yield ponte
    if findings is None:
        async for finding in check_everything(start, *model):
            yield finding
    else:
        for one in findings:
            yield DoctorFinding(**one)
