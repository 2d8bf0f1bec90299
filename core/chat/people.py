"""The people and the stored conversations of one installation, for platforms and features."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from core.base.errors import NotFound, PonteError
from core.changes.ledger import SqlLedger
from core.domain.messages import Address, File, Message, Person
from core.domain.ports import Files, Inbox
from core.domain.rights import Verdict
from core.feedback.votes import Votes
from core.journal.journal import Journal
from core.journal.thread_map import SqlThreadMap
from core.money.budget import Budget
from core.people.audit import Audit
from core.people.claims import IdentityClaims
from core.people.directory import SqlDirectory
from core.people.notices import Outbox
from core.people.page_accounts import OwnerName, PageAccounts
from core.people.policy import Policy
from core.people.rules import NO_RIGHTS, OWNER_ID
from core.saved.questions import SavedQuestions


@dataclass(frozen=True, slots=True)
class Conversations:
    """Groups the stores of conversations over one database. `inbox` has the messages, `journal` the
    turns, `threads` what is known of each thread, `files` the attached and created files, `outbox`
    the notices to people, `ledger` the changes, `votes` the feedback on answers, and `saved` the
    questions that were saved."""

    inbox: Inbox
    journal: Journal
    threads: SqlThreadMap
    files: Files
    outbox: Outbox
    ledger: SqlLedger
    votes: Votes
    saved: SavedQuestions
    find_shortest_look: Callable[[], int] = lambda: 5
    """Returns the minutes between two looks of an alert, at least."""

    async def withdraw_post(self, post: str) -> None:
        """A person deleted this post: it is not posted again. Cancel its turn, if that still runs:
        the person does not want its answer."""
        if (seq := await self.journal.seq_of_post(post)) is not None:
            await self.journal.record_post_removal(post)
            await self.inbox.cancel(seq)

    async def find_code(self, turn: str, post: str) -> Sequence[tuple[File, bytes]]:
        """Return the code that a turn ran, one file for each run. It is empty unless `post` is a
        post of that turn, and once the conversation was deleted."""
        answer = await self.journal.find_answer(turn, post)
        files = [file for file in answer.files if file.is_run_code] if answer else []
        with suppress(NotFound):  # a file was deleted meanwhile
            return [await self.files.get(file.id) for file in files]
        return ()


@dataclass(frozen=True, slots=True)
class People:
    """Groups what one installation knows of its people. `policy` decides on their rights, `budget`
    counts what each of them uses, `audit` logs what they did, `directory` stores what platforms
    report, `accounts` are those of the page, `owner` is the name of the owner of the page and the
    terminal, and `claims` are proofs of who the owner is on chat platforms."""

    policy: Policy
    budget: Budget
    audit: Audit
    directory: SqlDirectory
    accounts: PageAccounts
    owner: OwnerName
    claims: IdentityClaims = field(default_factory=IdentityClaims)

    def note_refusal(self, person: Person, address: Address, verdict: Verdict) -> None:
        """Write in the audit log a refused click or command, which did not become a message.
        `verdict` names the right and the rule."""
        self.audit.note("action-refused", person, address, right=verdict.right, rule=verdict.rule)

    def note_refused_turn(self, message: Message, error: PonteError, **facts: str) -> None:
        """Write in the audit log that a right or an allowance refused a turn, or a tool call of it.
        The values of `error` name the right, the rule and the change. `facts` are further columns
        of the log."""
        # An allowance names no right, so its error code is the reason.
        right, rule, change = (str(error.values.get(name, "")) for name in ("right", "rule", "id"))
        self.audit.note(
            "action-refused",
            message.author,
            message.address,
            right=right,
            reason="" if right else error.code,
            rule=rule,
            change=change,
            **facts,
        )

    async def find_names(self, keys: Collection[str]) -> Mapping[str, str]:
        """Return display names by key, without unknown ones. The owner's name is a setting, which
        no platform reports. Raises NotStored."""
        names = dict(await self.directory.find_names(keys))
        if name := self.owner.current:
            names |= {key: name for key in keys if self._is_owner(key)}
        return names

    def list_keys(self, key: str) -> Sequence[str]:
        """Return all keys under which this person acts: the owner of the page is also the owner of
        the terminal."""
        owned = sorted(
            name for name, platform in self.policy.platforms.items() if platform.has_one_owner
        )
        return [f"{name}:{OWNER_ID}" for name in owned] if self._is_owner(key) else [key]

    def _is_owner(self, key: str) -> bool:
        platform, _, id = key.partition(":")
        return id == OWNER_ID and self.policy.platforms.get(platform, NO_RIGHTS).has_one_owner
