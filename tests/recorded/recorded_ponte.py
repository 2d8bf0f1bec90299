"""A Ponte on Slack, Discord and the page, with every double: recorded as JSON, and restored.

What is kept is what others hold of a running Ponte at one moment: its home folder as a power cut
leaves it, the messages in the channels, the rows of the tables, the model's conversations.
"""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import psycopg
from pydantic import SecretStr

from bot.config.ponte_toml import AllowanceRule, TableConfig
from bot.features.backup.migrate import migrate
from bot.features.webhooks.feature import HookConfig
from bot.home import Home
from bot.ponte import Ponte
from bot.settings import Settings
from tests.dialogues.office import Office, office
from tests.fakes.config import with_sections
from tests.fakes.discord import DiscordPerson, FakeDiscord
from tests.fakes.discord.addresses import sdk_addresses
from tests.fakes.discord.interactions import Exchange
from tests.fakes.discord.world import Channel, Guild, User
from tests.fakes.hook_senders import PLAIN_SECRET
from tests.fakes.nocodb.tables import FakeBase, FakeField, FakeTable, Relation
from tests.fakes.openai.containers import ContainerFile
from tests.fakes.openai.state import Conversation
from tests.fakes.slack import FakeSlack, Post, SlackChannel, SlackPerson
from tests.fakes.slack import records as slack_records
from tests.fakes.slack.records import FileRecord, Hook, Stream
from tests.fakes.stackspot import FakeStackSpot, Look, Run
from tests.fakes.stackspot.state import CLIENT, REALM, SECRET, Execution
from tests.fakes.stackspot_parts import CONFIG

Json = dict[str, Any]
TOKEN = "the-token-of-the-recorded-page-0123456789"
SLACK_USERS = ("Alice", "Bob", "Bea", "Dan")
UNSEEN = ("ponte.lock", "ponte.sock")


def read_record(file: Path) -> Json:
    """Return what `python -m tests.recorded.record FILE` wrote."""
    data: Json = json.loads(gzip.decompress(file.read_bytes()))
    return data


@dataclass(repr=False)  # asyncio asks for the words of a fixture's result
class RecordedPonte:
    """`alice` may write, `bob` too, `bea` is an admin; so are Ana, Bo and Bea on Discord."""

    team: Office
    slack: FakeSlack
    discord: FakeDiscord
    stackspot: FakeStackSpot
    page: httpx.AsyncClient
    ponte: Ponte = field(init=False)
    """The one that `open` started last."""
    database: str = ""
    """The Postgres that the home is brought to before it is opened; "" leaves it where it is."""

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Of what is kept now."""
        if self.database:
            with psycopg.connect(self.database, options="-c search_path=ponte") as share:
                return share.execute(statement.encode()).fetchall()
        with closing(sqlite3.connect(self.team.home / "ponte.db")) as connection:
            return list(connection.execute(statement))

    def states(self, table: str) -> set[str]:
        """Those that rows of that table are in."""
        return {state for (state,) in self.rows(f"SELECT DISTINCT state FROM {table}")}

    def person(self, name: str) -> SlackPerson:
        return next(p for p in self.slack.workspace.people.values() if p.name == name)

    def somebody(self, name: str) -> DiscordPerson:
        users = self.discord.world.users.values()
        return DiscordPerson(self.discord, next(user for user in users if user.name == name))

    @property
    def place(self) -> SlackChannel:
        return next(p for p in self.slack.workspace.places.values() if p.name == "general")

    @property
    def direct(self) -> SlackChannel:
        """Alice's with the bot."""
        return next(p for p in self.slack.workspace.places.values() if p.kind == "im")

    @property
    def channel(self) -> Channel:
        return next(c for c in self.discord.world.channels.values() if c.name == "general")

    def invent(self) -> None:
        """The people and places of an empty world."""
        people = [self.slack.person(name) for name in SLACK_USERS]
        self.slack.channel("general", *people)
        self.slack.dm(people[0])
        users = [self.discord.user(name) for name in ("Ana", "Bo", "Bea", "Cy")]
        self.discord.text_channel(self.discord.guild("Bolts", *users), "general")

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """As `ponte run` starts it."""
        mine = [f"slack:{self.person(name).id}" for name in SLACK_USERS]
        mine += [f"discord:{self.somebody(name).id}" for name in ("Ana", "Bo", "Bea", "Cy")]
        admins = [f"slack:{self.person('Bea').id}", f"discord:{self.somebody('Bea').id}", "web"]
        settings: Json = {
            "slack_bot_token": SecretStr(self.slack.bot_token),
            "slack_app_token": SecretStr(self.slack.app_token),
            "slack_api_url": self.slack.base_url,
            "discord_token": SecretStr(self.discord.token),
            "discord_api_url": self.discord.api_url,
            "discord_gateway_url": self.discord.gateway_url,
            "stackspot_client_id": CLIENT,
            "stackspot_client_secret": SecretStr(SECRET),
            "stackspot_realm": REALM,
            "stackspot_auth_url": self.stackspot.url,
            "stackspot_api_url": self.stackspot.url,
            "stackspot_agent_url": self.stackspot.url,
            "ponte_code": "hosted",
            "ponte_web_token": SecretStr(TOKEN),
            "ponte_allow": frozenset(mine),
            "ponte_admins": frozenset(admins),
        }
        if self.database:
            settings["database_url"] = SecretStr(self.database)
            move = Settings(ponte_home=self.team.home, **settings)
            for _ in range(2):  # safe to repeat
                assert await migrate(move, Home(self.team.home)) == 0
            waiting = "state IN ('new', 'running', 'answered', 'posting')"
            assert not self.rows(
                f"SELECT min(seq) FROM inbox WHERE {waiting}"
                " GROUP BY conversation HAVING max(job) = 0"
            )
        bob = f"slack:{self.person('Bob').id}"
        config = with_sections(
            CONFIG,
            tables={"Readings": TableConfig(approvers=(bob,), approvals=2)},
            allowances=(AllowanceRule("each person", tokens=1_000_000),),
            hooks={
                "builds": HookConfig(
                    "secret", "BUILDS_SECRET", bob, "builders", template="Build {id} is ready"
                )
            },
            groups={"builders": (bob,)},
        )
        with mock.patch.dict(os.environ, BUILDS_SECRET=PLAIN_SECRET):
            async with self.team.open(config, **settings) as self.ponte:
                await self.slack.deliveries.wait_until_connected()
                await self.discord.wait_until(
                    lambda: self.discord.gateway.is_connected and self.discord.rest.commands
                )
                self.page.base_url = httpx.URL(self.ponte.links()[0])
                yield

    @property
    def origins(self) -> dict[str, str]:
        """Where each double listens now."""
        return {
            "slack": self.slack.origin,
            "discord": self.discord.rest.base,
            "nocodb": self.team.nocodb.origin,
            "stackspot": self.stackspot.url,
            "openai": self.team.openai.base_url.removesuffix("/v1"),
        }


@asynccontextmanager
async def open_recorded_ponte(home: Path) -> AsyncIterator[RecordedPonte]:
    with sdk_addresses():
        async with (
            office(home) as team,
            FakeSlack() as slack,
            FakeDiscord() as discord,
            FakeStackSpot() as stackspot,
            httpx.AsyncClient(timeout=20) as page,
        ):
            yield RecordedPonte(team, slack, discord, stackspot, page)


def record_state(ponte: RecordedPonte, at: float) -> Json:
    """All of it but the model's side, at this moment; nothing moves meanwhile."""
    match: Json = {
        "at": at,
        "home": home_of(ponte.team.home),
        "origins": ponte.origins,
        "slack": _slack(ponte.slack),
        "discord": _discord(ponte.discord),
        "nocodb": _nocodb(ponte.team),
        "stackspot": [asdict(each) for each in ponte.stackspot.executions.values()],
        "cookies": dict(ponte.page.cookies),
    }
    copied: Json = json.loads(json.dumps(match))
    return copied


def put(record: Json, ponte: RecordedPonte) -> None:
    """The same again, where these doubles listen; the home is written before Ponte opens it."""
    text = json.dumps(record)
    for name, origin in ponte.origins.items():
        was = record["origins"][name]
        text = text.replace(was.partition("//")[2], origin.partition("//")[2])
    record = json.loads(text)
    put_home(record["home"], ponte.team.home)
    _put_slack(record["slack"], ponte.slack)
    _put_discord(record["discord"], ponte.discord)
    _put_nocodb(record["nocodb"], ponte.team)
    _put_openai(record["openai"], ponte.team)
    for row in record["stackspot"]:
        run = row.pop("run")
        looks = tuple(Look(**look) for look in run["looks"])
        execution = Execution(**row, run=Run(looks, run["result"]))
        ponte.stackspot.executions[execution.id] = execution
    ponte.page.cookies.update(record["cookies"])


def home_of(home: Path) -> Json:
    files, databases = {}, {}
    for path in sorted(p for p in home.rglob("*") if p.is_file() and p.name not in UNSEEN):
        name = str(path.relative_to(home))
        if path.suffix == ".db":
            databases[name] = _dump_database(path)
        elif not path.name.endswith(("-wal", "-shm")):
            files[name] = _text(path.read_bytes())
    return {"files": files, "databases": databases}


def _dump_database(path: Path) -> Json:
    with closing(sqlite3.connect(path)) as connection:
        return {"sql": list(connection.iterdump())}


def put_home(record: Json, home: Path) -> None:
    """A recorded home folder alone."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, data in record["files"].items():
        path = home / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(_bytes(data))
        path.chmod(0o600)
    for name, dumped in record["databases"].items():
        with closing(sqlite3.connect(home / name)) as connection:
            connection.executescript("\n".join(dumped["sql"]))


def _slack(slack: FakeSlack) -> Json:
    world = slack.workspace
    posts = [_plain(post) for post in world.posts.values()]
    for post in posts:
        post["files"] = [file["id"] for file in post["files"]]
    return {
        "people": [_plain(each) for each in world.people.values()],
        "places": [_plain(each) for each in world.places.values()],
        "files": [_plain(each) for each in world.files.values()],
        "posts": posts,
        "views": world.views,
        "homes": world.homes,
        "hooks": {id: _plain(hook) for id, hook in world.hooks.items()},
        "sessions": [[*where, status] for where, status in world.sessions.items()],
    }


def _put_slack(record: Json, slack: FakeSlack) -> None:
    world = slack.workspace
    world.people = {row["id"]: SlackPerson(**row) for row in record["people"]}
    for row in record["places"]:
        world.places[row["id"]] = SlackChannel(**row | {"members": set(row["members"])})
    for row in record["files"]:
        world.files[row["id"]] = FileRecord(**row | {"data": _bytes(row["data"])})
    for row in record["posts"]:
        row["files"] = [world.files[id] for id in row["files"]]
        row["stream"] = row["stream"] and Stream(**row["stream"])
        post = Post(**row | {"reactions": set(row["reactions"])})
        world.posts[post.channel, post.ts] = post
    world.views, world.homes = record["views"], record["homes"]
    for id, row in record["hooks"].items():
        del row["began"]
        world.hooks[id] = Hook(**row)
    for *where, status in record["sessions"]:
        world.show_session(where[0], where[1], status)


def new_numbers() -> Iterator[int]:
    """For ids that nothing recorded has."""
    return itertools.count(500_000)


NUMBERED = (f"{slack_records.__name__}._numbers", "tests.fakes.openai.items._numbers")


def _discord(discord: FakeDiscord) -> Json:
    world = discord.world
    channels = []
    for channel in world.channels.values():
        row = _plain(channel)
        row |= {"guild": channel.guild and channel.guild.id, "typing": []}
        row["messages"] = list(channel.messages.values())
        channels.append(row)
    exchanges = []
    for each in discord.interactions.exchanges.values():
        row = {f.name: getattr(each, f.name) for f in fields(each) if f.name != "changed"}
        exchanges.append(row | {"channel": each.channel.id, "user": each.user.id})
    return {
        "me": world.me.id,
        "users": [_plain(user) for user in world.users.values()],
        "guilds": [_plain(guild) for guild in world.guilds.values()],
        "channels": channels,
        "files": {id: _text(data) for id, data in world.files.items()},
        "nonces": {
            nonce: [at, match["channel_id"], match["id"]]
            for nonce, (at, match) in world.nonces.items()
        },
        "exchanges": exchanges,
        "commands": discord.rest.commands,
    }


def _put_discord(record: Json, discord: FakeDiscord) -> None:
    world = discord.world
    world.users = {r["id"]: User(**r | {"roles": set(r["roles"])}) for r in record["users"]}
    world.me = world.users[record["me"]]
    discord.rest.commands = record["commands"]
    for row in record["guilds"]:
        row |= {
            "members": set(row["members"]),
            "roles": {int(k): v for k, v in row["roles"].items()},
        }
        world.guilds[row["id"]] = Guild(**row)
    for row in record["channels"]:
        row |= {"guild": world.guilds.get(row["guild"]), "recipients": tuple(row["recipients"])}
        row["messages"] = {int(message["id"]): message for message in row["messages"]}
        world.channels[row["id"]] = Channel(**row)
    world.files = {int(id): _bytes(data) for id, data in record["files"].items()}
    for nonce, (at, channel, id) in record["nonces"].items():
        value = world.channels[int(channel)].messages.get(int(id))
        if value is not None:
            world.nonces[nonce] = (at, value)
    for row in record["exchanges"]:
        row.pop("acked_after", None)  # the double of 0.1.0 measured it
        channel = row["channel"] = world.channels[row["channel"]]
        row["user"] = world.users[row["user"]]
        if row["original"]:
            row["original"] = channel.messages.get(int(row["original"]["id"]), row["original"])
        discord.interactions.exchanges[row["token"]] = Exchange(**row)


def _nocodb(team: Office) -> Json:
    bases, pairs = [], []
    for base in team.nocodb.world.bases.values():
        tables = [
            {
                "id": table.id,
                "title": table.title,
                "rows": list(table.rows.items()),
                "fields": [_plain(field) for field in table.fields],
            }
            for table in base.tables.values()
        ]
        bases.append({"id": base.id, "title": base.title, "tables": tables})
        events = {id(r): r for table in base.tables.values() for r in table.relations.values()}
        pairs += [
            {"one": r.one.id, "many": r.many.id, "down": r.down.id, "up": r.up.id, "pairs": r.pairs}
            for r in events.values()
        ]
    return {"bases": bases, "relations": pairs}


def _put_nocodb(record: Json, team: Office) -> None:
    tables: dict[str, FakeTable] = {}
    for row in record["bases"]:
        base = FakeBase(row["id"], row["title"])
        for each in row["tables"]:
            columns = [FakeField(**field) for field in each["fields"]]
            base.tables[each["id"]] = FakeTable(
                each["id"], each["title"], columns, dict(each["rows"])
            )
        tables |= base.tables
        team.nocodb.world.bases[base.id] = base
    for row in record["relations"]:
        one, many = tables[row["one"]], tables[row["many"]]
        down, up = one.find(row["down"]), many.find(row["up"])
        assert down is not None
        assert up is not None
        relation = Relation(one, many, down, up, [(pair[0], pair[1]) for pair in row["pairs"]])
        one.relations[down.id] = many.relations[up.id] = relation


def record_model_server(team: Office) -> Json:
    """What the model's server has, once it has seen that its caller is gone."""
    fake = team.openai
    containers = []
    for one in fake.containers.all.values():
        files = [_plain(file) for file in one.files.values()]
        containers.append({"id": one.id, "name": one.name, "minutes": one.minutes, "files": files})
    return {
        "conversations": [_plain(each) for each in fake.conversations.values()],
        "responses": fake.responses,
        "containers": containers,
    }


def _put_openai(record: Json, team: Office) -> None:
    fake = team.openai
    for row in record["conversations"]:
        fake.conversations[row["id"]] = Conversation(**row)
    fake.responses |= record["responses"]
    for row in record["containers"]:
        new_item = fake.containers.new(row["name"], row["id"], row["minutes"])
        for each in row["files"]:
            file = ContainerFile(**each | {"data": _bytes(each["data"])})
            new_item.files[file.id] = file
            new_item.bytes_of[file.path] = file.data


def _plain(one: Any) -> Json:
    """A dataclass as JSON takes it: sets sorted, bytes as text."""
    data: Json = json.loads(json.dumps(asdict(one), default=_to_plain_json))
    return data


def _to_plain_json(value: object) -> object:
    return _text(value) if isinstance(value, bytes) else sorted(value)  # type: ignore[call-overload]  # a set


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)
