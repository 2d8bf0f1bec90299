"""The table of operations: what an operator can ask a running Ponte to do, one function each.

A function's name in the table, docstring and parameters make its command in the shell, its route on
the home's socket and the check of its arguments. `/admin` reaches only those with `admin_page`.
`bot/operation_texts.py` has the texts of results. Features add operations (`operations.py` of their
folders). `ponte --help` imports these modules, so they import nothing heavy.
"""

from __future__ import annotations

import base64
import inspect
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_type_hints

from bot import operation_results as results
from bot.features import load_modules
from bot.operation_results import Json, Rows

if TYPE_CHECKING:
    from adapters.web.api.answers import ChatAnswer
    from bot.config.ponte_toml import Config
    from bot.home import Start
    from bot.ponte import Ponte
    from core.domain.messages import Person
    from core.domain.records import DoctorFinding, Health, TurnSummary

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])
FILE_PIECE_BYTES = 3_000_000
"""The most bytes of a file in one response."""
ERASE_TIMEOUT_SECONDS = 900.0
"""Erasing a person rewrites nearly all tables."""
SETUP_TIMEOUT_SECONDS = 120.0
"""A check asks a service several times, and a new start is tried in a process of its own."""


@dataclass(frozen=True, slots=True)
class ShellParameter:
    """A parameter of an operation that people type in the shell, with its help.

    With `is_file`, people name a file, and its text is the value. `options` returns the possible
    values, where ponte.toml has them all: a menu on the page /admin.
    """

    help: str
    _: KW_ONLY
    is_file: bool = False
    options: Callable[[Config], Collection[str]] = lambda _: ()


@dataclass(frozen=True, slots=True)
class ShellArgument(ShellParameter):
    """A parameter that people type by its place. `values` are the operation that lists its possible
    values, and their field in that operation's rows: the shell completes them.
    """

    values: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class ShellOption(ShellParameter):
    """A parameter that people type after its `flag`, by default `--` and its name."""

    flag: str = ""


@dataclass(frozen=True, eq=False)
class Operation:
    """One thing that an operator can ask Ponte to do, such as `ponte reload`: a function with its
    name, the right that it needs, and how the shell and the page /admin offer it.

    - `right`: an admin may do it, or only the owner (`own`).
    - `in_shell`: it is a command of the shell as it is.
    - `needs`: a running Ponte, any process that holds the home, or only the settings; then the
      function's first parameter is a `Start`.
    - `confirm`: the question in the shell before it runs, below the result of the operation
      `preview` with the same arguments.
    - `example`: arguments for its help.
    - `sentence`: the text of its result, which has the sentence's values.
    - `shown_by`: the command that shows whether it was done, "" if it changes nothing.
    - `overview`: the arguments of a text for somebody who gives none.
    - `prepares`: the model's server is checked if this command starts Ponte for itself.
    - `is_chat`: its result is an answer, which the shell draws as in a chat.
    """

    name: str
    function: Callable[..., Awaitable[Any]]
    right: Literal["administer", "own"] = "administer"
    admin_page: bool = False
    is_secret: bool = False
    in_shell: bool = True
    needs: Literal["running", "home", "settings"] = "home"
    confirm: str = ""
    preview: str = ""
    example: str = ""
    shown_by: str = ""
    sentence: str = ""
    overview: Json = field(default_factory=dict)
    prepares: bool = False
    is_chat: bool = False
    timeout_seconds: float = 30.0

    @property
    def path(self) -> str:
        """The path of its route, below /operator/."""
        return self.name.replace(" ", "/")

    @property
    def help(self) -> str:
        """People read the function's docstring as the command's help."""
        return inspect.getdoc(self.function) or ""

    @cached_property
    def parameters(self) -> Mapping[str, tuple[Any, Any]]:
        """Annotation and default of each argument, by name. The first parameter of the function is
        no argument, and `actor` is who asks. Annotations are texts, as this module does not import
        their types, so only those of arguments are evaluated."""
        _, *own = inspect.signature(self.function).parameters.values()
        own = [each for each in own if each.name != "actor"]
        typed = SimpleNamespace(__annotations__={each.name: each.annotation for each in own})
        hints = get_type_hints(typed, self.function.__globals__, include_extras=True)
        return {each.name: (hints[each.name], each.default) for each in own}


OPERATIONS: dict[str, Operation] = {}
"""All operations by name."""
COMMAND_GROUPS = {
    "threads": "List, show and delete conversations.",
    "changes": "List, approve, change, deny and undo changes to your data.",
    "person": "List, export and delete the data about a person.",
    "policy": "Show who can do what, and where.",
    "setup": "Show and undo what was typed on the setup page.",
}
"""The help of commands that have commands below them."""


def add_command_group(name: str, help: str, after: str) -> None:
    """Add a command that has commands below it. In the documents it stands after another one, if
    that exists."""
    groups = list(COMMAND_GROUPS.items())
    at = list(COMMAND_GROUPS).index(after) + 1 if after in COMMAND_GROUPS else len(groups)
    groups.insert(at, (name, help))
    COMMAND_GROUPS.clear()
    COMMAND_GROUPS.update(groups)


def operation(name: str, **options: Any) -> Callable[[F], F]:
    """Return a decorator that puts a function into OPERATIONS. `more` are fields of `Operation`.
    Raises ValueError for an operation that would show a secret on the page /admin."""

    def register(function: F) -> F:
        own = Operation(name, function, **options)
        if own.is_secret and own.admin_page:
            raise ValueError(f"{name}: the operator's page must not show a secret")
        if name in OPERATIONS:
            raise ValueError(f"{name}: there is another operation with this name")
        OPERATIONS[name] = own
        return function

    return register


PersonKey = Annotated[
    str,
    ShellArgument(
        "For example, slack:T1:U1 or web:ana; `person list` shows the keys.",
        ("person list", "person"),
    ),
]
ChangeId = Annotated[str, ShellArgument("The change's ID (six characters).", ("pending", "id"))]
Conversation = Annotated[
    str,
    ShellArgument(
        "The conversation's key, as shown by `threads list`.", ("threads list", "conversation")
    ),
]


@operation("status", admin_page=True, prepares=True, example="--json")
async def list_parts(ponte: Ponte) -> Sequence[Health]:
    """Show each part of Ponte. Exits with code 1 if Ponte isn't running or a part is failing."""
    return await ponte.board.health()


@operation("turns", admin_page=True, example="--failed")
async def list_turns(
    ponte: Ponte, failed: Annotated[bool, ShellOption("Only messages that failed.")] = False
) -> Sequence[TurnSummary]:
    """List running, queued and failed messages, without their text."""
    turns = await ponte.engine.conversations.journal.list_recent_turns()
    return [turn for turn in turns if turn.failed or not failed]


@operation("reload", admin_page=True, needs="running", shown_by="audit --event config-reloaded")
async def reload_config(ponte: Ponte, actor: Person) -> results.Reload:
    """Apply the current ponte.toml to the running Ponte, without interrupting any answer."""
    return await ponte.reloader.reload_everywhere(actor)


@operation("config check", admin_page=True, in_shell=False)
async def check_config(ponte: Ponte) -> results.FileCheck:
    """Return the faults of ponte.toml as it is now, each with its line."""
    import asyncio

    return await asyncio.to_thread(ponte.reloader.check)


@operation("doctor", admin_page=True, in_shell=False, timeout_seconds=300.0)
async def check_parts(
    ponte: Ponte, model: Sequence[Literal["announce", "send"]] = ()
) -> Sequence[DoctorFinding]:
    """Check each part against its live service."""
    return await ponte.find_problems(*model)


@operation("tables", admin_page=True)
async def list_meanings(ponte: Ponte, actor: Person) -> Rows:
    """List what the model knows about tables and fields."""
    from core.domain.messages import Address
    from core.domain.rights import Viewer
    from core.people.audit import OPERATOR

    source = ponte.sources.get("nocodb") or ponte.sources.get("sample")
    page = Address("web", "main")
    rights = None if actor == OPERATOR else await ponte.engine.people.policy.rights(actor, page)
    return await source.list_meanings(Viewer(rights)) if source else ()


@operation("names", admin_page=True, in_shell=False)
async def find_names(ponte: Ponte, keys: Sequence[str] = ()) -> Mapping[str, str]:
    """Return the names of people and channels by key, as far as they are known. Names of channels
    that are not known are asked for in the background."""
    # `ponte --help` imports this module, so it loads little.
    import asyncio

    from core.domain.messages import Address

    names, messengers = dict(await ponte.engine.people.find_names(keys)), ponte.engine.platforms
    for key in keys:
        # A channel's key is PLATFORM:WORKSPACE:CHANNEL; "direct" stands for direct messages. For
        # the key of a person in Slack, which has this form too, `title` returns "".
        platform, *place = key.split(":")
        is_channel = len(place) >= 2 and place[1] != "direct"
        if is_channel and (messenger := messengers.messengers.get(platform)):
            # A channel, because direct messages have no title.
            address = Address(platform, place[1], place[0], is_shared=True)
            # 0: the name if known. The platform is asked in the background for the next load.
            with suppress(TimeoutError):
                async with asyncio.timeout(0):
                    if title := await messenger.title(address):
                        names[key] = title
    return names


@operation("pending", admin_page=True, in_shell=False)
async def list_pending(ponte: Ponte, actor: Person) -> Rows:
    """Return everybody's requests that wait for a decision, without their values."""
    from bot.reports import report_pending

    return await report_pending(ponte.engine.changes, ponte.engine.schedules, actor)


@operation("changes list", is_chat=True)
async def list_changes(ponte: Ponte, linked: bool = True) -> ChatAnswer:
    """List the latest changes with their IDs."""
    return await ponte.run_command("changes", linked)


@operation("changes pending", is_chat=True)
async def list_approvals(ponte: Ponte, linked: bool = True) -> ChatAnswer:
    """List the changes waiting for your approval."""
    return await ponte.run_command("approvals", linked)


@operation("changes approve", is_chat=True, shown_by="changes list", example="abc234")
async def approve_change(ponte: Ponte, id: ChangeId, linked: bool = True) -> ChatAnswer:
    """Approve a change. It's applied immediately."""
    return await ponte.decide("approve", id, linked)


@operation(
    "changes change", is_chat=True, shown_by="changes list", example="abc234 'Status = Paid'"
)
async def change_change(
    ponte: Ponte,
    id: ChangeId,
    values: Annotated[
        Sequence[str], ShellArgument("A new value, for example 'Status = Paid'.")
    ] = (),
    linked: bool = True,
) -> ChatAnswer:
    """Change the proposed values before they're approved. Without values, lists the fields."""
    # `linked`: the display turns addresses into links.
    return await ponte.decide("change", id, linked, values=values)


@operation("changes deny", is_chat=True, shown_by="changes list", example="abc234")
async def deny_change(
    ponte: Ponte,
    id: ChangeId,
    words: Annotated[Sequence[str], ShellArgument("The reason, as with `--reason`.")] = (),
    reason: Annotated[
        str, ShellOption("The reason, shown to the person who asked and to the model.")
    ] = "",
    linked: bool = True,
) -> ChatAnswer:
    """Deny a change, or add the reason for your denial."""
    # `linked`: the display turns addresses into links.
    return await ponte.decide("deny", id, linked, reason or " ".join(words))


@operation("changes again", is_chat=True, shown_by="changes list", example="abc234")
async def propose_change_again(ponte: Ponte, id: ChangeId, linked: bool = True) -> ChatAnswer:
    """Propose a denied, expired or failed change again."""
    return await ponte.decide("again", id, linked)


@operation("changes undo", is_chat=True, shown_by="changes list", example="abc234")
async def undo_change(ponte: Ponte, id: ChangeId, linked: bool = True) -> ChatAnswer:
    """Undo a change."""
    return await ponte.decide("undo", id, linked)


@operation(
    "usage", admin_page=True, example="--by model --since 2026-11-01",
    overview={"by": "person", "since": "today", "with_limits": True},
)  # fmt: skip
async def report_usage(
    ponte: Ponte,
    by: Annotated[str, ShellOption("Group by person, channel, model, tool or day.")] = "",
    since: Annotated[
        str,
        ShellOption(
            "First day, for example 2026-11-01 or yesterday. Default: the first day of this month."
        ),
    ] = "",
    with_limits: bool = False,
) -> results.UsageReport:
    """Show today's usage, or a report since a date (see the options)."""
    # `ponte --help` imports this module, so it loads little.
    from bot import reports

    # A shell command without arguments or `--json` gets those of `overview`.
    budget = ponte.engine.people.budget
    report = await reports.report_usage(budget, by or "person", since)
    if not with_limits:
        return report
    limits = await reports.report_limits(budget)
    return results.UsageOverview(
        report.by, report.since, report.rows, report.server_costs, report.unpriced, limits
    )


@operation("limits", admin_page=True, in_shell=False)
async def list_limits(ponte: Ponte) -> Rows:
    """Return what is used of each limit."""
    from bot.reports import report_limits

    return await report_limits(ponte.engine.people.budget)


@operation("audit", admin_page=True, example="--since yesterday --person slack:U1")
async def read_audit_log(
    ponte: Ponte,
    since: Annotated[
        str,
        ShellOption(
            "Start of the period: a date or a date and time, for example 2026-11-01 or yesterday."
        ),
    ] = "",
    until: Annotated[
        str, ShellOption("End of the period: a date (inclusive) or a date and time.")
    ] = "",
    person: Annotated[str, ShellOption("Only this person, for example slack:U1.")] = "",
    event: Annotated[str, ShellOption("Only this event, for example change-approved.")] = "",
    after: str = "",
) -> Json:
    """Show who did what, which rule allowed it, and who approved it, newest first."""
    # `ponte --help` imports this module, so it loads little.
    from adapters.web.errors import UnknownPath
    from bot.reports import parse_moment

    # `after` is the `next` of the page before; "" for the first one.
    if not re.fullmatch("[0-9]{0,18}", after):
        raise UnknownPath
    lines, following = await ponte.engine.people.audit.read(
        after,
        since=parse_moment(since, ponte.zone),
        until=parse_moment(until, ponte.zone, end=True),
        person=person,
        event=event,
    )
    return {"lines": lines, "next": following}


@operation(
    "policy check", needs="settings", example="--person slack:U1 --channel C2 --right read:Orders"
)
async def check_policy(
    start: Start,
    person: Annotated[
        str, ShellOption("For example, slack:U1, discord:42, web:ana, web or oidc:acme:SUB.")
    ],
    channel: Annotated[
        str,
        ShellOption(
            "For example, C2, slack:T1:C2 or discord:SERVER:CHANNEL. If omitted, a direct message."
        ),
    ] = "",
    group: Annotated[
        Sequence[str],
        ShellOption("A user group or role of this person, for example slack:S1 or discord:5001."),
    ] = (),
    guest: Annotated[bool, ShellOption("The person is a guest.")] = False,
    right: Annotated[
        Sequence[str],
        ShellOption("Only this permission, for example read:Orders. Can be repeated."),
    ] = (),
) -> results.PolicyCheck:
    """Show a person's permissions in a channel, and which rule applies, according to the ponte.toml
    on disk. The person's groups aren't looked up on any platform."""
    # `ponte --help` imports this module, so it loads little.
    from bot.reports import check_rights

    return await check_rights(start, person, channel, groups=group, guest=guest, rights=right)


@operation("slack show", in_shell=False)
async def find_slack_addresses(ponte: Ponte) -> Json:
    """Return how Slack delivers events, and the page's public origin, for the app's manifest."""
    return {"slack": ponte.settings.slack, "page": ponte.settings.ponte_web_url or ""}


@operation("setup show", right="own", example="--json")
async def show_setup(ponte: Ponte) -> Json:
    """Show what was typed on the setup page, without secrets, and whether it's in effect."""
    return await ponte.setup.show()


@operation("setup undo", right="own", shown_by="setup show")
async def undo_setup(ponte: Ponte, actor: Person) -> Json:
    """Undo the last changes on the setup page: all those that the same restart applies. Takes
    effect when Ponte restarts."""
    return {"names": await ponte.setup.undo(actor)}


@operation(
    "setup step",
    right="own",
    admin_page=True,
    in_shell=False,
    shown_by="setup show",
    timeout_seconds=SETUP_TIMEOUT_SECONDS,
)
async def run_setup_step(
    ponte: Ponte,
    step: Literal[
        "show",
        "undo",
        "draft",
        "show_draft",
        "check",
        "save",
        "remove",
        "apply",
        "look",
        "find_people",
        "claim",
        "grant",
        "update_app",
        "revoke",
        "share_sample",
    ],
    arguments: Json,
    actor: Person,
) -> Any:
    """Do a step of the setup page: the method of that name (bot/setup/service.py)."""
    return await ponte.setup.run(step, arguments, actor)


@operation("link", is_secret=True, in_shell=False)
async def find_link(ponte: Ponte) -> Json:
    """Return the page's address with its token."""
    return {"link": ponte.links()[1]}


@operation("threads list", example="--json")
async def list_threads(ponte: Ponte) -> Rows:
    """List conversations with their number of messages, newest first."""
    # `thread` is the id of what the model remembers now.
    journal = ponte.engine.conversations.journal
    return [
        {
            "conversation": thread.conversation,
            "thread": thread.id,
            "used_at": thread.used_at,
            "messages": len(entries),
        }
        for thread in await journal.list_threads()
        # Without entries, people only typed commands there.
        if (entries := await journal.list_entries(thread.conversation))
    ]


@operation("threads show", example="web:main")
async def show_thread(ponte: Ponte, conversation: Conversation) -> Json:
    """Show the messages of a conversation (see `threads list` for its key)."""
    messages = list[Json]()
    for one in await ponte.list_entries(conversation):
        name, text = one.message.author.name, one.message.text
        facts = {"at": one.created_at, "turn": one.turn}
        messages.append({"role": "user", "name": name, "text": text, **facts, "state": one.state})
        if one.answer:
            text = one.answer.text_without_cards
            messages.append({"role": "assistant", "name": "Ponte", "text": text, **facts})
    return {"conversation": conversation, "messages": messages}


@operation(
    "threads forget",
    confirm="Delete {conversation} permanently?",
    example="web:main",
    shown_by="threads list",
)
async def forget_thread(ponte: Ponte, conversation: Conversation, actor: Person) -> Json:
    """Delete a conversation. This can't be undone."""
    # The audit log gets the conversation's place. `remains_notice` tells where deleted data may
    # still exist, such as in backups.
    entries, engine = await ponte.list_entries(conversation), ponte.engine
    where = entries[0].message.address if entries else None
    messages = await engine.upkeep.forget(conversation, actor, where)
    return {"messages": messages, "remains": engine.upkeep.remains_notice}


@operation("person list", timeout_seconds=ERASE_TIMEOUT_SECONDS)
async def list_people(ponte: Ponte) -> Rows:
    """List everyone with stored data, with first and last activity, amount, key and name."""
    return await ponte.personal_data.data.list_people()


@operation("person counts", in_shell=False, timeout_seconds=ERASE_TIMEOUT_SECONDS)
async def count_rows(ponte: Ponte, key: str) -> results.PersonCounts:
    """Return who a key means, how many rows each section has, and which conversations they share
    with others."""
    return await ponte.personal_data.count_rows(key)


@operation("person rows", in_shell=False)
async def read_rows(ponte: Ponte, person: str, section: str, begin: int = 0) -> Rows:
    """Return rows of a section from `begin` on; an empty list at its end."""
    data = ponte.personal_data.data
    return await data.read_rows(data.by_key(person), section, begin)


@operation("person file", in_shell=False)
async def read_file(ponte: Ponte, person: str, file: str, begin: int = 0) -> str:
    """Return a piece of one of their files in base64, "" at its end. Raises NotFound."""
    data = await ponte.personal_data.read_file(person, file)
    return base64.b64encode(data[begin : begin + FILE_PIECE_BYTES]).decode()


@operation(
    "person forget", preview="person counts", confirm="Delete all of this permanently?",
    example="web:ana", timeout_seconds=ERASE_TIMEOUT_SECONDS, shown_by="person list",
)  # fmt: skip
async def forget_person(ponte: Ponte, key: PersonKey, actor: Person) -> results.ForgottenPerson:
    """Delete all data about a person, here and on the model's server. This can't be undone."""
    result = await ponte.personal_data.forget(key, actor)
    if result.left:
        from core.base.errors import PonteError

        raise PonteError(
            "New data about {person} arrived during the deletion: {names}. Run the deletion again.",
            person=result.person,
            names=", ".join(f"{name} {n}" for name, n in result.left.items()),
        )
    return result


# At the end, because they import this module.
load_modules("operations")
