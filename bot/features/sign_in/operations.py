"""Who may use the page, how they sign in, and their API tokens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from bot.operation_results import Json, Rows
from bot.operations import ShellArgument, ShellOption, add_command_group, operation

if TYPE_CHECKING:
    from bot.ponte import Ponte
    from core.domain.messages import Person
    from core.domain.records import ApiToken

add_command_group(
    "people", "Manage the people who can use the page besides its owner.", after="schedules"
)
PersonName = Annotated[
    str,
    ShellArgument(
        "Lowercase letters, digits, dots, hyphens and underscores, up to 32 characters; or a "
        "key from `ponte people list`.",
        ("people list", "name"),
    ),
]


@dataclass(frozen=True, slots=True)
class SignInLink:
    """A new sign-in token of a person, and the link to the page that contains it ("" without a
    page). `conversations` is the number of conversations of an earlier person of that name.
    `person` is the person's key."""

    name: str
    person: str
    token: str
    link: str
    conversations: int = 0


def _page_for_links(ponte: Ponte) -> str:
    from core.base.errors import PonteError

    if ponte.settings.ponte_web == "off":
        raise PonteError("The page is turned off. Set PONTE_WEB=on to use it.")
    page, _ = ponte.links()
    return page or (ponte.settings.page_url() if ponte.settings.ponte_web_port else "")


def _check_links(ponte: Ponte) -> None:
    """Raise if nobody could sign in with a link."""
    from core.base.errors import PonteError

    if not ponte.live.section("page").links:
        raise PonteError(
            "Sign-in links are turned off in ponte.toml (`[page] links = false`). Let people "
            "sign in with Slack or their company account, or remove that line."
        )


def _make_link(person: Person, page: str, token: str, earlier: int = 0) -> SignInLink:
    from adapters.web import add_token

    link = add_token(page, token) if page else ""
    return SignInLink(person.id, person.key, token, link, earlier)


@operation("people add", right="own", admin_page=True, example="ana", shown_by="people list")
async def add_person(ponte: Ponte, name: PersonName, actor: Person) -> SignInLink:
    """Let a person use the page. Prints their sign-in link once."""
    _check_links(ponte)
    page, person = _page_for_links(ponte), ponte.accounts.person(name)
    token = await ponte.accounts.invite(person, actor)
    earlier = await ponte.engine.conversations.journal.list_conversations_of(person.key)
    return _make_link(person, page, token, len(earlier))


@operation("people list", admin_page=True, example="--json")
async def list_accounts(ponte: Ponte) -> Rows:
    """List the people who can sign in to the page: how, since when, and when they last did."""
    # Of accounts that the owner made, a command such as `people remove` takes the name.
    links = [
        {"name": one.person.partition(":")[2], "provider": "", "person": "", "state": "link"}
        | {"added": one.added_at, "seen": one.last_visit}
        for one in await ponte.accounts.list_all()
    ]
    # Of people of a provider, commands take the key. Whoever was removed is listed, because they
    # may not sign in until they are admitted again. `last_at` is cut to the day, which is all that
    # is stored of accounts (`last_visit`).
    others = [
        {"name": one.person.key, "provider": one.provider, "person": one.person.name}
        | {"state": "removed" if one.removed_at else "provider", "added": one.first_at}
        | {"seen": f"{datetime.fromtimestamp(one.last_at, UTC):%Y-%m-%d}"}
        for one in await ponte.accounts.list_sign_ins()
    ]
    return [*links, *others]


@operation(
    "people renew",
    right="own",
    admin_page=True,
    example="ana",
    shown_by="audit --event person-link-renewed",
)
async def renew_person(ponte: Ponte, name: PersonName, actor: Person) -> SignInLink:
    """Create a new sign-in link for a person; the old link and its sessions stop working."""
    _check_links(ponte)
    page, person = _page_for_links(ponte), ponte.accounts.person(name)
    return _make_link(person, page, await ponte.accounts.renew_link(person, actor))


@operation(
    "people token",
    right="own",
    is_secret=True,
    example="ana --name notebook --days 30",
    shown_by="people tokens {name}",
)
async def create_api_token(
    ponte: Ponte,
    name: PersonName = "owner",
    label: Annotated[
        str, ShellOption("What the token is for, for example 'my script'.", "--name")
    ] = "",
    days: Annotated[int, ShellOption("Days until the token expires; 0 for never.")] = 0,
    metrics: Annotated[bool, ShellOption("The token reads /metrics and nothing else.")] = False,
    mcp: Annotated[bool, ShellOption("The token is for an MCP client.")] = False,
    *,
    actor: Person,
) -> Json:
    """Create an API token for a person, by default for the owner. It works only for programs that
    use /v1, or with --mcp for an MCP client, and is printed once."""
    # "" if the page has no fixed address.
    page, kind = _page_for_links(ponte), "metrics" if metrics else "mcp" if mcp else "api"
    # `owner`: the name may also be "owner", or the key of a person of a provider.
    person = ponte.accounts.person(name, owner=True)
    token, text = await ponte.accounts.create_api_token(person.key, label, days, actor, kind)
    url = f"{page}/{'v1' if kind == 'api' else kind}" if page else ""
    return {"id": token.id, "name": name, "kind": kind, "token": text, "url": url}


@operation("people tokens", admin_page=True, example="ana")
async def list_api_tokens(
    ponte: Ponte, name: Annotated[str, ShellArgument("Only the tokens of this person.")] = ""
) -> Rows:
    """List API tokens with ID, person, purpose, date added, expiration and last use."""
    person = ponte.accounts.person(name, owner=True).key if name else ""
    return [_without_hash(token) for token in await ponte.accounts.list_api_tokens(person)]


def _without_hash(token: ApiToken) -> Json:
    """Leave out the hash. `expires` is 0 for never, and `seen` the day of its last use, "" for
    none."""
    return {
        "id": token.id,
        # Commands take the name of an account, and the key of anybody else.
        "person": token.person.removeprefix("web:"),
        "kind": token.kind,
        "name": token.name,
        "added": token.added_at,
        "expires": token.expires_at,
        "seen": token.last_use,
    }


@operation(
    "people revoke",
    right="own",
    admin_page=True,
    example="1f0c9a2b",
    shown_by="people tokens",
    sentence="Revoked API token {id} ({person}).",
)
async def revoke_api_token(
    ponte: Ponte,
    id: Annotated[
        str, ShellArgument("The ID, as shown by `ponte people tokens`.", ("people tokens", "id"))
    ],
    actor: Person,
) -> Json:
    """Revoke an API token. Programs that use it lose access immediately."""
    return _without_hash(await ponte.accounts.revoke_api_token(id, by=actor))


@operation(
    "people remove",
    right="own",
    admin_page=True,
    confirm="Remove {name} from the page?",
    example="ana",
    shown_by="people list",
    sentence="{name} can no longer sign in. Their messages are kept. To delete them, run `ponte "
    "person forget {person}`.",
)
async def remove_person(ponte: Ponte, name: PersonName, actor: Person) -> Json:
    """Remove a person from the page. Their sessions end, and Ponte stops working for them. They
    can't sign in with Slack or a company account until you let them in again."""
    return {"name": name, "person": await ponte.personal_data.remove(name, actor)}


@operation(
    "people readmit",
    right="own",
    admin_page=True,
    example="slack:T1:U1",
    shown_by="people list",
    sentence="{name} can sign in again.",
)
async def readmit_person(ponte: Ponte, name: PersonName, actor: Person) -> Json:
    """Let a removed person sign in with Slack or a company account again."""
    await ponte.accounts.admit_sign_in(name, actor)
    return {"name": name, "person": name}


@operation(
    "people move-provider",
    right="own",
    example="acme",
    shown_by="people list",
    sentence="People who sign in with {name} now use {issuer}.",
)
async def move_provider(
    ponte: Ponte,
    name: Annotated[str, ShellArgument("The NAME of `[sign_in.NAME]` in ponte.toml.")],
    actor: Person,
) -> Json:
    """Accept the new issuer of a sign-in provider. An account with the same ID there counts as the
    same person."""
    from core.base.errors import BadInput, NotFound

    if words := ponte.live.current.describe_newer_file():
        raise BadInput(words)
    if (provider := ponte.live.section("sign_in").get(name)) is None:
        raise NotFound(
            "Sign-in provider {name} not found in ponte.toml. Check the name.", name=name
        )
    await ponte.accounts.move_provider(name, provider.issuer, actor)
    return {"name": name, "issuer": provider.issuer}
