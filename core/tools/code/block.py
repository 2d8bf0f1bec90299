"""Python in a person's or a model's words: the fenced code block that holds it."""

from __future__ import annotations

from core.fences import Fence, after

_INFOS = ("python", "py", "python3", "")


def bare(code: str) -> str:
    """`code` without the fence that some models put around it."""
    blocks, beside = _blocks(code)
    return blocks[0][1] if len(blocks) == 1 and not beside.strip() else code


def block(text: str) -> str:
    """The first block of Python in `text`, "" where there is none."""
    blocks, _ = _blocks(text)
    python = (code for info, code in blocks if info.strip().lower() in _INFOS and code.strip())
    return next(python, "")


def _blocks(text: str) -> tuple[list[tuple[str, str]], str]:
    """Each closed block as its info and its content, and all that stands beside them."""
    blocks, beside, lines = list[tuple[str, str]](), "", list[str]()
    fence: Fence | None = None
    for line in text.splitlines():
        before, fence = fence, after(line, fence, len(line))
        if before is None and fence is None:
            beside += line
        elif before is None:
            lines = []
        elif fence is not None:
            lines.append(line)
        else:
            blocks.append((before.info, "\n".join(lines)))
    return blocks, beside if fence is None else text
