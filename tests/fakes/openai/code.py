"""The code interpreter in `/v1/responses`: which container, what it runs, what it shows of it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tests.fakes.openai.items import new_id
from tests.fakes.openai.script import Run, Script

if TYPE_CHECKING:
    from tests.fakes.openai.containers import Container
    from tests.fakes.openai.state import Json, State

OUTPUTS = "code_interpreter_call.outputs"
_FENCED = re.compile(r"\A\s*```(?:python|py)?\n(.*?)\n?```\s*\Z", re.DOTALL)


def tool_of(body: Json) -> Json | None:
    return next((t for t in body.get("tools", ()) if t.get("type") == "code_interpreter"), None)


def container_of(state: State, body: Json) -> Container | None:
    """The one that the request names, or a new one for `auto`. Raises OpenAIErrorResponse."""
    tool = tool_of(body)
    if tool is None:
        return None
    name = tool["container"]
    return state.containers.touch(name) if isinstance(name, str) else state.containers.new("auto")


def runs_of(body: Json, script: Script) -> tuple[Run, ...]:
    """As the request allows: forced, none at all, at most so many."""
    choice = body.get("tool_choice", "auto")
    if tool_of(body) is None or choice == "none":
        return ()
    forced = choice == {"type": "code_interpreter"} or choice == "required"
    refusal = script.refusal or script.incomplete or script.fail == "failed"
    runs = script.runs if script.runs is not None else (Run(),) if forced and not refusal else ()
    return runs[: body.get("max_tool_calls") or len(runs)]


def items_of(container: Container, runs: Sequence[Run], heard: str) -> tuple[list[Json], Json]:
    """The calls, and the part of the answer's text that names the files which they left."""
    items: list[Json] = []
    part: Json = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    for run in runs:
        code = _unfence_code(heard) if run.code is None else run.code
        before = set(container.files)
        logs = container.python.run(code) if run.logs is None else run.logs
        results = {path: container.put(path, data, "assistant") for path, data in run.files}
        for file in results.values() if run.cited else ():
            _cite(part, container.id, file.id, posixpath.basename(file.path))
        outputs: list[Json] = [{"type": "logs", "logs": logs}] if logs else []
        outputs += [{"type": "image", "url": url} for url in run.images]
        silent = not outputs and before == set(container.files)
        items.append(
            {
                "type": "code_interpreter_call",
                "id": new_id("ci"),
                "code": code,
                "container_id": container.id,
                "outputs": None if silent else outputs,
                "status": run.status,
            }
        )
    return items, part


def filter_outputs(response: Json, include: Sequence[str]) -> Json:
    """Return the response without the outputs that `include` does not name."""
    if OUTPUTS in include:
        return response
    output = [
        {**item, "outputs": None} if item["type"] == "code_interpreter_call" else item
        for item in response["output"]
    ]
    return {**response, "output": output}


def _unfence_code(heard: str) -> str:
    match = _FENCED.match(heard)
    return match[1] if match else heard


def _cite(part: Json, container: str, file: str, name: str) -> None:
    link = f"[Download {name}](sandbox:/mnt/data/{name})"
    part["text"] += f" {link}" if part["text"] else link
    part["annotations"].append(
        {
            "type": "container_file_citation",
            "container_id": container,
            "file_id": file,
            "filename": name,
            "start_index": len(part["text"]) - len(link),
            "end_index": len(part["text"]),
        }
    )
