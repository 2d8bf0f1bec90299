"""The table of operations: what an operator can ask a running Ponte to do, one function each.

A function's name in the table, docstring and parameters make its command in the shell, its route on
the home's socket and the check of its arguments. `/admin` reaches only those with `admin_page`.
`bot/operation_texts.py` has the texts of results. `ponte --help` imports this module, so it imports
nothing heavy.
"""

from __future__ import annotations

import base64
import inspect
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_type_hints

if TYPE_CHECKING:
    from bot.ponte import Ponte
    from bot.start import Start
    from core.domain.messages import Person
    from core.domain.records import ApiToken

Json = Mapping[str, Any]
Rows = Sequence[Json]
F = TypeVar("F", bound=Callable[..., Awaitable[Any]])
FILE_PIECE_BYTES = 3_000_000
"""Most bytes of a file in one response."""
ERASE_TIMEOUT_SECONDS = 900.0
"""Erasing a person rewrites the whole database (`VACUUM`)."""


@dataclass(frozen=True, slots=True)
class ShellArgument:
    """A parameter that people type in the shell, with its help.

    `values` are the operation that lists possible values, and their field in its rows.
    """

    help: str
    values: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class ShellOption:
    """A parameter that people type in the shell after its `flag`, by default its name.

    With `is_file`, they name a file, and its text is the value.
    """

    help: str
    flag: str = ""
    is_file: bool = False


@dataclass(frozen=True)
class Operation:
    """One entry of the table.

    `right`: an admin may do it, or only the owner (`own`). `in_shell`: it is a command as it is.
    `needs`: a running Ponte, any process that holds the home, or only the settings; then its first
    parameter is a `Start`. `confirm` is asked in the shell before it runs. `example` has arguments
    for its help. `event` is written to the audit log, unless its service writes a line itself.
    `prepares`: the model's server is checked if this command starts Ponte for itself.
    """

    name: str
    function: Callable[..., Awaitable[Any]]
    right: Literal["administer", "own"] = "administer"
    admin_page: bool = False
    is_secret: bool = False
    in_shell: bool = True
    needs: Literal["running", "home", "settings"] = "home"
    confirm: str = ""
    example: str = ""
    event: str = ""
    prepares: bool = False
    timeout_seconds: float = 30.0

    @property
    def path(self) -> str:
        """The path of its route below /operator/."""
        return self.name.replace(" ", "/")

    @property
    def help(self) -> str:
        """Its docstring."""
        return inspect.getdoc(self.function) or ""

    @cached_property
    def parameters(self) -> Mapping[str, tuple[Any, Any]]:
        """The annotation and the default of each argument. The first parameter of the function is
        no argument, and `actor` is who asks."""
        names = {"Ponte": Any, "Start": Any, "Person": Any}
        hints = get_type_hints(self.function, localns=names, include_extras=True)
        _, *own = inspect.signature(self.function).parameters.values()
        return {each.name: (hints[each.name], each.default) for each in own if each.name != "actor"}


OPERATIONS: dict[str, Operation] = {}
"""All operations by name."""


def operation(name: str, **more: Any) -> Callable[[F], F]:
    """Return a decorator that puts a function into the table. `more` are fields of `Operation`."""

    def register(function: F) -> F:
        own = Operation(name, function, **more)
        if own.is_secret and own.admin_page:
            raise ValueError(f"{name}: the operator's page must not show a secret")
        OPERATIONS[name] = own
        return function

    return register


PersonName = Annotated[
    str,
    ShellArgument(
        "Lowercase letters, digits, dots, hyphens and underscores, up to 32 characters.",
        ("people list", "name"),
    ),
]
ScheduleId = Annotated[
    str, ShellArgument("The schedule's ID (six characters).", ("schedules list", "id"))
]
Conversation = Annotated[
    str,
    ShellArgument(
        "The conversation's key, as shown by `threads list`.", ("threads list", "conversation")
    ),
]


@operation("status", prepares=True, example="--json")
async def list_parts(ponte: Ponte) -> Rows:
    """Show the state of each part of the running Ponte. Exit code 1 if one is failing."""
    return [asdict(part) for part in await ponte.board.health()]


@operation("turns", admin_page=True, example="--failed")
async def list_turns(
    ponte: Ponte,
    failed: Annotated[bool, ShellOption("Only turns that failed.")] = False,
) -> Rows:
    """List the turns that run, wait or have failed, without their texts."""
    turns = await ponte.engine.conversations.journal.list_recent_turns()
    return [
        asdict(turn) | {"failed": turn.is_failed} for turn in turns if turn.is_failed or not failed
    ]


@operation("reload", admin_page=True, needs="running")
async def reload_config(ponte: Ponte, actor: Person) -> Json:
    """Apply the current ponte.toml to the running Ponte, without interrupting any answer."""
    return await ponte.reloader.reload_for(actor)


@operation("config check", admin_page=True, in_shell=False)
async def check_config(ponte: Ponte) -> Sequence[str]:
    """Return the faults of ponte.toml as it is now, each with its line."""
    import asyncio

    return await asyncio.to_thread(ponte.reloader.check)


@operation("doctor", admin_page=True, in_shell=False, timeout_seconds=300.0)
async def check_parts(ponte: Ponte, model: Sequence[Literal["announce", "send"]] = ()) -> Rows:
    """Check each part against its live service."""
    return await ponte.find_problems(*model)


@operation("names", admin_page=True, in_shell=False)
async def find_names(ponte: Ponte, keys: Sequence[str] = ()) -> Mapping[str, str]:
    """Return the names of people by key, as far as they are known."""
    return await ponte.engine.people.find_names(keys)


@operation("pending", admin_page=True, in_shell=False)
async def list_pending(ponte: Ponte) -> Rows:
    """Return everybody's requests that wait for a decision, without their values."""
    from bot.reports import report_pending

    return await report_pending(ponte.engine.changes)


@operation("usage", admin_page=True, in_shell=False)
async def report_usage(
    ponte: Ponte, by: str = "person", since: str = "", with_limits: bool = False
) -> Json:
    """Return a usage report since a day, by default the first of this month."""
    from bot import reports

    report = await reports.report_usage(ponte.engine.people.budget, by, since)
    return {**report, "limits": await list_limits(ponte)} if with_limits else report


@operation("limits", admin_page=True, in_shell=False)
async def list_limits(ponte: Ponte) -> Rows:
    """Return what is used of each limit."""
    from bot.reports import report_limits

    return await report_limits(ponte.engine.people.budget)


@operation("audit", admin_page=True, example="--since yesterday --person slack:U1")
async def read_audit_log(
    ponte: Ponte,
    since: Annotated[
        str, ShellOption("From this date or time on, for example 2026-11-01 or yesterday.")
    ] = "",
    until: Annotated[str, ShellOption("Up to the end of this date, or up to this time.")] = "",
    person: Annotated[str, ShellOption("Only this person, for example slack:U1.")] = "",
    event: Annotated[str, ShellOption("Only this event, for example change-approved.")] = "",
    after: str = "",
) -> Json:
    """Show who did what, which rule allowed it, and who approved it."""
    from bot.reports import parse_moment

    lines, following = await ponte.engine.people.audit.read(
        after, since=parse_moment(since, ponte.zone),
        until=parse_moment(until, ponte.zone, end=True), person=person, event=event,
    )  # fmt: skip
    return {"lines": lines, "next": following}


@operation(
    "policy check", needs="settings", example="--person slack:U1 --channel C2 --right read:Orders"
)
async def check_policy(
    start: Start,
    person: Annotated[str, ShellOption("For example slack:U1 or web:ana.")],
    channel: Annotated[
        str, ShellOption("For example C2 or slack:T1:C2; if omitted, a direct message.")
    ] = "",
    group: Annotated[
        Sequence[str], ShellOption("A user group or role of this person, for example slack:S1.")
    ] = (),
    guest: Annotated[bool, ShellOption("The person is a guest.")] = False,
    right: Annotated[
        Sequence[str],
        ShellOption("Only this permission, for example read:Orders. Can be repeated."),
    ] = (),
) -> Json:
    """Show a person's permissions in a channel, and which rule decides. Contacts no service."""
    from bot.policy_check import check_rights

    return await check_rights(start, person, channel, groups=group, guest=guest, rights=right)


@operation("hooks test", needs="settings", admin_page=True, example="deploys --body delivery.json")
async def preview_hook(
    start: Start,
    name: Annotated[str, ShellArgument("The webhook's name in ponte.toml.")],
    body: Annotated[str, ShellOption("A file with the body of a request.", is_file=True)] = "",
) -> Json:
    """Show what a delivery of a webhook would post, and with which permissions. Posts nothing."""
    from bot.policy_check import find_rights
    from core.chat.hooks import preview_delivery
    from core.domain.errors import NotFound

    config = start.config
    if name not in config.hooks:
        raise NotFound(what=name)
    hook = config.hooks[name].hook(name, start.settings.variable)
    author, place, text, quoted = preview_delivery(hook, body.encode())
    kinds = config.rule_book.stand_ins[author.platform].rights
    return {
        "name": name, "post_to": config.hooks[name].post_to, "is_post": bool(hook.template),
        "text": text, "body": quoted, "rights": await find_rights(start, author, place, kinds),
    }  # fmt: skip


@operation(
    "sample reset",
    event="sample-reset",
    example="--yes",
    confirm="Restore the sample tables? All changes to them are lost.",
)
async def reset_sample(ponte: Ponte) -> Json:
    """Restore the sample tables to their first rows. This cannot be undone."""
    return {"withdrawn": await ponte.reset_sample()}


@operation("link", is_secret=True, in_shell=False)
async def find_link(ponte: Ponte) -> Json:
    """Return the page's address with its token; "" if no page is served."""
    return {"link": ponte.links()[1]}


@operation("threads list", example="--json")
async def list_threads(ponte: Ponte) -> Rows:
    """List conversations with their number of messages, newest first."""
    journal = ponte.engine.conversations.journal
    return [
        {"conversation": one.conversation, "thread": one.id, "used_at": one.used_at,
         "messages": len(await journal.list_entries(one.conversation))}
        for one in await journal.list_threads()
    ]  # fmt: skip


@operation("threads show", example="web:main")
async def show_thread(ponte: Ponte, conversation: Conversation) -> Json:
    """Show the messages of one conversation, given by its key as `threads list` shows it."""
    messages = list[Json]()
    for one in await ponte.list_entries(conversation):
        facts = {"at": one.created_at, "turn": one.turn}
        sent = {"role": "user", "name": one.message.author.name, "text": one.message.text}
        messages.append(sent | {"state": one.state} | facts)
        if one.answer:
            answer = {"role": "assistant", "name": "Ponte", "text": one.answer.text}
            messages.append(answer | facts)
    return {"conversation": conversation, "messages": messages}


@operation("threads forget", confirm="Delete {conversation} permanently?", example="web:main")
async def forget_thread(ponte: Ponte, conversation: Conversation, actor: Person) -> Json:
    """Delete one conversation. This cannot be undone."""
    entries, engine = await ponte.list_entries(conversation), ponte.engine
    where = entries[0].message.address if entries else None
    await engine.people.audit.write_note("conversation-forgotten", actor, where)
    messages = await engine.upkeep.forget(conversation)
    return {"messages": messages, "remains": engine.upkeep.remains_notice}


@operation("people add", right="own", admin_page=True, example="ana")
async def add_person(ponte: Ponte, name: PersonName, actor: Person) -> Json:
    """Let a person use the page. Prints their sign-in link once."""
    page = ponte.page_for_links()
    person = ponte.accounts.person(name)
    token = await ponte.accounts.add(person, actor)
    earlier = await ponte.engine.conversations.journal.list_conversations_of(person.key)
    return ponte.sign_in_link(name, token, page) | {"conversations": len(earlier)}


@operation("people list", admin_page=True, example="--json")
async def list_accounts(ponte: Ponte) -> Rows:
    """List the people who can sign in to the page, with date added, last visit and name."""
    return [
        {"name": one.person.partition(":")[2], "added": one.added_at, "seen": one.last_visit}
        for one in await ponte.accounts.list_all()
    ]


@operation("people renew", right="own", admin_page=True, example="ana")
async def renew_person(ponte: Ponte, name: PersonName, actor: Person) -> Json:
    """Create a new sign-in link for a person; the old link and its sessions stop working."""
    page = ponte.page_for_links()
    token = await ponte.accounts.renew(ponte.accounts.person(name), actor)
    return ponte.sign_in_link(name, token, page)


@operation("people token", right="own", is_secret=True, example="ana --name notebook --days 30")
async def create_api_token(
    ponte: Ponte,
    name: PersonName,
    label: Annotated[str, ShellOption("What the token is for, as in 'notebook'.", "--name")] = "",
    days: Annotated[int, ShellOption("Days until the token expires; 0 for never.")] = 0,
    *,
    actor: Person,
) -> Json:
    """Create an API token for a person, or for `owner`. It works only for programs that use /v1,
    and is printed once."""
    page = ponte.page_for_links()
    person = ponte.accounts.person(name, owner=True)
    token, text = await ponte.accounts.create_api_token(person.key, label, days, actor)
    return {"id": token.id, "name": name, "token": text, "url": f"{page}/v1" if page else ""}


def _token_json(token: ApiToken) -> Json:
    """Return what people may see of an API token. Times are in seconds since the epoch."""
    return {
        "id": token.id, "person": token.person.partition(":")[2], "name": token.name,
        "added": token.added_at, "expires": token.expires_at, "seen": token.last_use,
    }  # fmt: skip


@operation("people tokens", admin_page=True, example="ana")
async def list_api_tokens(
    ponte: Ponte, name: Annotated[str, ShellArgument("Only the tokens of this person.")] = ""
) -> Rows:
    """List API tokens: id, person, what for, date added, expiry and last use."""
    person = ponte.accounts.person(name, owner=True).key if name else ""
    return [_token_json(one) for one in await ponte.accounts.list_api_tokens(person)]


@operation("people revoke", right="own", admin_page=True, example="1f0c9a2b")
async def revoke_api_token(
    ponte: Ponte,
    id: Annotated[
        str, ShellArgument("The id that `ponte people tokens` lists.", ("people tokens", "id"))
    ],
    actor: Person,
) -> Json:
    """Revoke an API token. Programs that use it are refused at once."""
    return _token_json(await ponte.accounts.revoke_api_token(id, by=actor))


@operation(
    "people remove",
    right="own",
    admin_page=True,
    confirm="Remove {name} from the page?",
    example="ana",
)
async def remove_person(ponte: Ponte, name: PersonName, actor: Person) -> Json:
    """Remove a person from the page. Their sessions end and their running work stops."""
    person = ponte.accounts.person(name)
    await ponte.accounts.remove_account(person, actor)
    return {"name": name, "person": person.key}


@operation("schedules list", admin_page=True, example="--json")
async def list_schedules(ponte: Ponte) -> Rows:
    """List everybody's schedules."""
    return await ponte.engine.schedules.list_all()


@operation("schedules show", example="abc234")
async def show_schedule(ponte: Ponte, id: ScheduleId) -> Json:
    """Show one schedule and its last runs."""
    return await ponte.engine.schedules.show(id.lower())


@operation("schedules pause", admin_page=True, example="abc234")
async def pause_schedule(ponte: Ponte, id: ScheduleId, actor: Person) -> Json:
    """Pause one schedule until somebody resumes it."""
    schedules = ponte.engine.schedules
    return schedules.note("paused", await schedules.store.pause(id.lower(), "person"), actor)


@operation("schedules resume", admin_page=True, example="abc234")
async def resume_schedule(ponte: Ponte, id: ScheduleId, actor: Person) -> Json:
    """Resume one paused schedule. Runs that were due meanwhile are not made up for."""
    schedules = ponte.engine.schedules
    return schedules.note("resumed", await schedules.store.resume(id.lower()), actor)


@operation("schedules run", admin_page=True, example="abc234")
async def run_schedule(ponte: Ponte, id: ScheduleId, once: str = "", *, actor: Person) -> Json:
    """Run one schedule now, with its owner's permissions. Its times stay as they are."""
    schedules = ponte.engine.schedules
    schedule = await schedules.store.get(id.lower())
    # The same event, such as a form that is sent twice, starts one run.
    await schedules.store.run_now(schedule.id, once or secrets.token_hex(8))
    return schedules.note("run-requested", schedule, actor)


@operation(
    "schedules delete", admin_page=True, confirm="Delete the schedule {id}?", example="abc234"
)
async def delete_schedule(ponte: Ponte, id: ScheduleId, actor: Person) -> Json:
    """Delete one schedule."""
    schedules = ponte.engine.schedules
    return schedules.note("deleted", await schedules.store.delete(id.lower()), actor)


@operation("person list", timeout_seconds=ERASE_TIMEOUT_SECONDS)
async def list_people(ponte: Ponte) -> Rows:
    """List everyone with stored data: first and last seen, amount, key and name."""
    return await ponte.personal_data.data.list_people()


@operation("person counts", in_shell=False, timeout_seconds=ERASE_TIMEOUT_SECONDS)
async def count_rows(ponte: Ponte, person: str) -> Json:
    """Return who a key means, how many rows each section has, and which conversations they share
    with others."""
    return await ponte.personal_data.count_rows(person)


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


@operation("person forget", in_shell=False, timeout_seconds=ERASE_TIMEOUT_SECONDS)
async def forget_person(ponte: Ponte, person: str, actor: Person) -> Json:
    """Delete all data about one person."""
    return await ponte.personal_data.forget(person, actor)
