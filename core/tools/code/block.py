"""Python in a person's or a model's words: the fenced code block that holds it."""

from __future__ import annotations

from core.fences import Fence, after

_INFOS = ("python", "py", "python3", "")


def bare(code: str) -> str:
    """`code` without the fence that some models put around it."""
    text = code.strip()
    if not text.startswith(("```", "~~~")):
        return code
    found = block(text)
    return found if found and text.splitlines()[-1].strip().strip("`~") == "" else code


def block(text: str) -> str:
    """The first block of Python in `text`, "" where there is none."""
    fence: Fence | None = None
    lines: list[str] = []
    for line in text.splitlines():
        before, fence = fence, after(line, fence, len(line))
        if before is None:
            lines = []
        elif fence is not None:
            lines.append(line)
        elif before.info.strip().lower() in _INFOS and any(map(str.strip, lines)):
            return "\n".join(lines)
    return ""
