"""What a hosted run is asked to do: code that runs exactly as written, or a request in words."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass

from core.domain.errors import ToolError
from core.text import i18n
from core.text.text import limit_combining_marks

MAX_CODE_CHARACTERS = 60_000
"""Characters of code. The model must write each of them again."""
_FENCED_CODE = re.compile(r"\s*```(?:python|py)?[ \t]*\n(.*?)\n?```\s*", re.DOTALL | re.IGNORECASE)
NO_PROMPT = "There is no code to run. Write Python code, or describe what it should do."
CODE_TOO_LONG = "The code is too long: {size} characters. The limit is {limit}."


@dataclass(frozen=True, slots=True)
class CodePrompt:
    """Code without its fence, to be run exactly as written (`verbatim`), or a request in words."""

    text: str
    verbatim: bool = True

    @classmethod
    def of(cls, said: object, *, words: bool = False) -> CodePrompt:
        """Return the prompt in `said`. Raise ToolError if it is empty or too long.

        With `words`, text that is not Python is a request.
        """
        text = said if isinstance(said, str) else ""
        found = _FENCED_CODE.fullmatch(text)
        text = found[1] if found else text
        if not text.strip():
            raise ToolError(NO_PROMPT, code="no_code")
        if len(text) > MAX_CODE_CHARACTERS:
            size, limit = i18n.format_number(len(text)), i18n.format_number(MAX_CODE_CHARACTERS)
            raise ToolError(CODE_TOO_LONG, code="too_long", size=size, limit=limit)
        if not words or found:
            return cls(text)
        # The parser puts the combining marks of a name in their order.
        if limit_combining_marks(text) != text:
            return cls(text, verbatim=False)
        try:
            ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return cls(text, verbatim=False)
        return cls(text)

    def find_changed_code(self, codes: Sequence[str]) -> str:
        """Return the code that ran, if it differs from the prompt; otherwise "".

        Blanks at the ends of lines do not count. The result is also "" if the server does not say
        what ran.
        """

        def plain(code: str) -> str:
            return "\n".join(line.rstrip() for line in code.strip("\n").splitlines())

        same = len(codes) == 1 and plain(codes[0]) in (plain(self.text), "")
        return "\n\n".join(codes) if self.verbatim and not same else ""
