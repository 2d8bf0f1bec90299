"""Failures of the model's server, by status, code and words."""

from __future__ import annotations

import re
from typing import Literal

from core.base.fault_bodies import MAX_PARSED_RETRY_AFTER_SECONDS, parse_fault_body
from core.base.http import PROXY_STATUSES
from core.base.proxies import add_proxy

IDENTIFIER = re.compile(r"[a-z]+(_[a-z]+)*")
"""An error code that may be shown and logged. Some servers send sentences as codes."""
_UNKNOWN_MODEL = re.compile(
    r"(?is)(models?|deployment)\b.{0,120}(not (be )?found|not exist|not available|no such"
    r"|not supported|decommissioned|no longer)|(unknown|no such|invalid|unsupported|not a valid"
    r"|access) model\b|no endpoints found for|model_(not|decommissioned)|DeploymentNotFound"
)
_CONTAINER_GONE = re.compile(r"(?is)container.*(expired|not found|not exist|deleted|no longer)")
_POLICY = re.compile(
    r"(?i)(?<!data )polic(y|ies)|moderation|content.?filter|invalid_prompt|safety(?!_identifier)"
    r"|敏感|不安全|\bflagged\b|data_inspection|inappropriate|prohibited|\brisk\b|guardrail"
)
_QUOTA = re.compile(r"quota|credit|spend|billing|insufficient_funds|balance|arrear", re.IGNORECASE)
_RATE_QUOTA = re.compile(r"(?i)throttl|(token|request)s?_quota")
"""Codes that speak of a quota of a minute or a day."""
_QUOTA_WORDS = re.compile(
    r"(?i)insufficient (\w+ )?(balance|credit|fund)|credit balance|payment required"
    r"|余额不足|欠费|budget has been exceeded|(out of|no|not enough|more) credits"
    r"|(spend\w*|billing|budget) (hard )?(limit|cap)"
)
_WRONG_KEY = re.compile(
    r"(?i)(incorrect|invalid|wrong|missing|no|expired|unknown|revoked) (\w+ )?(api|access|auth\w*)"
    r"[ _-]?(key|token|credential|header)|provide (an? )?(valid )?api.?key"
    r"|(api|access)[ _-]?(key|token).{0,40}(not valid|invalid|expired|missing|incorrect"
    r"|not found|revoked|required|disabled)|authentication (fail|error|required)|unauthori[sz]ed"
    r"|login fail|api_key_invalid|invalid (authentication|credential)|not authenticated"
)
_BUSY = re.compile(
    r"(?i)rate_?limit|overloaded|capacity_exceeded|resource_exhausted|too_many_requests|throttl"
)
_BUSY_WORDS = re.compile(
    r"(?i)overloaded|\brate.?limit|too many requests|throttl|频率|限流|稍后|\bslow down\b"
    r"|\b(wait|try again|retry)\b.{0,30}\b(before|later|moment|minutes?|seconds?|shortly)\b"
    r"|\b(tokens|requests) per (second|minute|hour|day)\b"
)
_BUSY_WORDS_OF_500 = re.compile(r"(?i)\brate.?limit|too many|throttl|限流")
"""The words among them that count in an internal error, which often ends with "try again"."""
_REGION = re.compile(
    r"(?i)\b(countr(y|ies)|regions?|territor(y|ies)|locations?)\b.{0,40}(\b(not|un)|n't) ?"
    r"(support|availab|permit|allow|serv|eligib)"
    r"|\b(countr(y|ies)|regions?|territory|location) (\w+ )?(block|restrict|forbid|ban|prohibit)"
    r"|\b(not|n't|un(available|supported)|blocked|restricted|forbidden|prohibited|denied)\b.{0,30}"
    r"\b(in|from|for|to) (your|this) (country|region|territory|location)"
    r"|unsupported[ _](country|region|location)|\bexport (restriction|control)|\bsanction"
    r"|\bgeo.?(block|restrict)|error code: 1009"
    r"|(地区|国家|区域).{0,9}(不支持|限制|禁止)|不支持.{0,9}(地区|国家|区域)"
)
"""How servers say that they do not serve the place that a request comes from."""
_NO_REASONING = re.compile(
    r"(?is)\A(?!.*not support .?none)(?=.*\breasoning)(?=.*\b(tool|function)s?\b).*\bnone\b"
    r"|\bset (the )?.?reasoning[._]effort.{0,6} to .?none\b"
    r"|\breasoning.*supported values are:? .?none\W*\Z"
)
_NO_STREAM = re.compile(
    r"(?is)verified to stream|\bonly\b.{0,30}\bnon.?stream|不支持.{0,9}流式|流式.{0,9}不支持"
    r"|\bstream(ing|ed)?\b(?!.?option)[^.]{0,40}(false|unsupported|disabled|unavailable|forbidden"
    r"|(not|n't)\b[^.]{0,20}(support|allow|enabled|permit|available|implement|accept))"
    r"|((not|n't|cannot|without)\b|(unsupported|unknown|unrecogni[sz]ed)\b[^.]{0,20}(field|param"
    r"|argument|name|property|value))[^.]{0,50}\bstream(ing|ed)?\b(?!.?option)"
)
"""How servers say that they do not stream an answer of this model, or to this account."""
_NO_TOOLS = re.compile(
    r"(?i)--jinja|--enable-auto-tool-choice|\b(tools?|functions?|tool.use|(tool|function).call(s|ing)?)"
    r"\b[^.]{0,30}(not|n't) (be |currently )?(support|enabled|allowed)|that support tool"
    r"|(n't|not|no) support(ed)? (for )?(tool|function)"
)
_LOADING = re.compile(
    r"(?i)\bloading (the )?model|model\b.{0,200}\b(loading|being loaded|warming|starting)\b"
)
_NOT_LOADED = re.compile(
    r"(?i)no models? (is |are )?(currently )?loaded|model\b.{0,80} (not|un) ?loaded"
    r"|failed to load (the )?model|requires more (system )?memory"
)
_BAD_CALL = re.compile(
    r"(?i)tool_use_failed|failed to (call a function|parse (the )?(input|tool|function))"
    r"|tool call validation failed|malformed.?function.?call|could not be parsed"
)
_BAD_TEMPLATE = re.compile(r"(?i)template|jinja|\broles?\b|\bimage|mmproj|context (size|window)")
"""Errors of the server's program that the same request always causes."""
UNREPEATED_STATUSES = (501, 504, 505, 524)
"""HTTP statuses from 500 on after which a repetition cannot help, or may be paid twice: a gateway
waited too long, and the model may still have answered."""


class ModelServerFault(Exception):
    """A failed request to the model's server.

    - `unsent`: the request never left.
    - `lost`: the response is missing, and the request may have had its effect.
    - `refused`: the server responded with an HTTP error status, or with an error in place of the
      answer.
    - `foreign`: the response is not one of OpenAI's API, such as a web page.
    - `broken`: an error inside a stream.
    - `silent`: no data arrived in time.
    - `excess`: the response exceeds a limit, which `message` names.

    Servers that only resemble OpenAI name the same failure by different statuses, codes and words,
    so its properties (`is_wrong_key` and others) look at all three.

    `body` is the JSON or the text that the server sent. `wait` is the time in seconds that it asks
    to wait, or None. `message` is its text. It may quote a person, so it is only parsed, never
    shown or logged. `status` is 0 if the server names none.
    """

    def __init__(
        self,
        kind: Literal["unsent", "lost", "refused", "foreign", "broken", "silent", "excess"],
        *,
        status: int = 0,
        body: object = None,
        message: str = "",
        request: str = "",
        wait: float | None = None,
    ) -> None:
        fault = parse_fault_body(body)
        # `request` is the server's id of the request.
        self.kind, self.request = kind, request
        self.status = status or fault.status
        self.code, self.type, self.param = fault.code, fault.type, fault.param
        # `message` describes the failure if the body does not.
        self.message = fault.message or message
        self.is_page = isinstance(body, str) and body.startswith("<")
        self.proxy = ""
        # JSON counts as an answer of the model's server; anything else may be a proxy's.
        self._is_json = not isinstance(body, str) or body.startswith(("{", "["))
        # `wait` is from a header. Without one, that of the body counts (seconds).
        wait = fault.wait if wait is None else wait
        self.wait = None if wait is None else min(wait, MAX_PARSED_RETRY_AFTER_SECONDS)
        # The text of the exception goes to the log, so a sentence in place of a code is left out.
        named = self.code or self.type
        name = named if IDENTIFIER.fullmatch(named) else ""
        super().__init__(f"{kind} {self.status or ''} {name} {request}".strip())

    def name_proxy(self, proxy: str) -> None:
        """Add the proxy that was used ("" for none), because it may be the cause. Do nothing if the
        model's server itself responded: it sends JSON, and proxies do not."""
        is_unanswered = self.kind in ("unsent", "lost", "foreign")
        is_refused = self.kind == "refused" and self.status in PROXY_STATUSES and not self._is_json
        if is_unanswered or is_refused:
            self.proxy = proxy
            self.args = (add_proxy(str(self), proxy),)

    def _says(self, pattern: re.Pattern[str]) -> bool:
        return pattern.search(f"{self.code} {self.type} {self.message}") is not None

    @property
    def reason(self) -> str:
        """The server's error code, for people; the HTTP status if the server sends a sentence in
        place of a code, which is not trusted."""
        return self.code if IDENTIFIER.fullmatch(self.code) else f"HTTP {self.status}"

    @property
    def is_quota_exhausted(self) -> bool:
        """The account has no credit left, so a retry cannot help."""
        # A code with "quota" can also mean a limit of a minute or a day (`_RATE_QUOTA`), which
        # passes.
        text = f"{self.code} {self.type}"
        # 0: an error within a stream, which has no status.
        is_known = self.status in (0, 400, 403, 429) and not _RATE_QUOTA.search(text)
        named = is_known and _QUOTA.search(text)
        # Servers that send no code say it in the message.
        in_words = self.status < 500 and _QUOTA_WORDS.search(self.message)
        return self.status == 402 or bool(named or in_words)  # 402: payment required

    @property
    def is_wrong_key(self) -> bool:
        """True also if the server finds no key in the request."""
        if self.code.startswith("model_") or self.is_region_refused:  # the key works elsewhere
            return False
        in_words = self.status in (0, 400, 404, 407, 422, 500) and self._says(_WRONG_KEY)
        return self.status in (401, 403) or in_words

    @property
    def is_region_refused(self) -> bool:
        return self.status == 451 or (self.status in (400, 403) and self._says(_REGION))

    @property
    def refuses_reasoning(self) -> bool:
        """True if this model calls tools only if it does not reason. Ponte then asks without
        reasoning."""
        return self.status in (400, 422) and self._says(_NO_REASONING)

    @property
    def refuses_stream(self) -> bool:
        """True if the server does not stream this model's answer. It may answer in one piece."""
        text = f"{self.code} {self.type} {self.message}".replace("_", " ")
        is_refusal = self.status in (0, 500, 501, *range(400, 429))
        return is_refusal and (self.param == "stream" or _NO_STREAM.search(text) is not None)

    @property
    def is_unknown_model(self) -> bool:
        in_words = self.status in (400, 404, 410) and self._says(_UNKNOWN_MODEL)
        return self.code == "model_not_found" or (in_words and self.param in ("", "model"))

    @property
    def lacks_tools(self) -> bool:
        is_named = 400 <= self.status <= 500 and self._says(_NO_TOOLS)
        return is_named and not self.refuses_reasoning

    @property
    def is_loading(self) -> bool:
        """The model is being loaded, so a later request succeeds."""
        return self.status in (425, 429, 503) and self._says(_LOADING)

    @property
    def is_not_loaded(self) -> bool:
        """The server does not load the model by itself: a person must."""
        return 400 <= self.status <= 503 and self._says(_NOT_LOADED)

    @property
    def is_bad_call(self) -> bool:
        """The server could not read the model's call. Another answer may be better."""
        return self._says(_BAD_CALL)

    @property
    def is_rate_limited(self) -> bool:
        """The server receives too many requests now. A later one may succeed."""
        pattern = _BUSY_WORDS if self.status != 500 else _BUSY_WORDS_OF_500
        in_words = self.status in (0, 400, 422, 500, 503) and pattern.search(self.message)
        named = _BUSY.search(f"{self.code} {self.type}")
        return self.status in (429, 529) or bool(named or in_words)

    @property
    def is_container_gone(self) -> bool:
        """True if the container of OpenAI expired or was deleted (its text:
        community.openai.com/t/1321773)."""
        is_named = _CONTAINER_GONE.search(self.message) is not None
        return is_named and self.status in (0, 400, 404, 410)

    @property
    def is_policy_refusal(self) -> bool:
        """True if the request violates the server's usage policies, or this person is blocked."""
        in_words = self.status in (400, 403, 422, 451) and self._says(_POLICY)
        return in_words or _POLICY.search(self.code) is not None

    @property
    def is_undone(self) -> bool:
        """True if the server surely did not process the request, so that it costs nothing."""
        return self.kind in ("unsent", "foreign") or (self.kind == "refused" and self.status < 500)

    @property
    def may_pass(self) -> bool:
        """The request had no effect and may succeed a little later, so the client repeats it."""
        if self.is_quota_exhausted or self.lacks_tools or self.is_not_loaded or self.is_bad_call:
            return False
        if self.refuses_stream:  # the caller asks again without a stream
            return False
        if self.status >= 500:
            return self.status not in UNREPEATED_STATUSES and not self._says(_BAD_TEMPLATE)
        if self.status not in (0, 400, 422):
            # The request timed out, is in conflict with another one, or came too early; or the
            # server has too many requests (429, and 498 of Groq).
            return self.status in (408, 409, 425, 429, 498)
        # Some servers report with these statuses, or without one, that they are busy.
        return self.kind == "unsent" or self.code == "server_error" or self.is_rate_limited
