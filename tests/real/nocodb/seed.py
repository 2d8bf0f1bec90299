"""Fills a NocoDB that has just started: bases, tables with rows, and users."""

from __future__ import annotations

import base64
import json
import secrets
import sqlite3
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = dict[str, Any]

STATUS = ("Lead", "Active", "Lost")
READINGS = 1_200
DATABASE = "noco.db"
_BULK = 100  # rows in one call of v2


@dataclass(frozen=True, slots=True)
class Base:
    """Customers (30 rows, the first with Orders 1 and 2 and a file in Contract), Orders (60), and
    perhaps Readings; `tables` by title → id."""

    id: str
    tables: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Seeded:
    """`crm` has 1,200 Readings, `other` is the id of an empty base. `token` is the owner's, who
    sees both; `editor` and `viewer` are tokens of users who see `crm` alone. `database` is the
    server's SQLite file."""

    url: str
    database: str
    token: str
    editor: str
    viewer: str
    crm: Base
    other: str


def call(url: str, body: object = None, *, method: str = "", **headers: str) -> Any:
    """The answer's JSON. `headers` with _ for -."""
    request = urllib.request.Request(
        url,
        method=method or ("GET" if body is None else "POST"),
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Content-Type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        },
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or b"null")


def seed_server(url: str, data: Path) -> Seeded:
    """`data` is the server's own folder: an invitation's token goes by mail alone, and there."""
    token = sign_up_owner(url)
    crm = base_with_rows(url, token, "CRM", readings=READINGS)
    other = str(call(f"{url}/api/v2/meta/bases", {"title": "Archive"}, xc_token=token)["id"])
    # The first user is given a base of her own.
    for each in call(f"{url}/api/v2/meta/bases", xc_token=token)["list"]:
        if each["id"] not in (crm.id, other):
            call(f"{url}/api/v2/meta/bases/{each['id']}", method="DELETE", xc_token=token)
    editor, viewer = (_member(url, token, crm.id, role, data) for role in ("editor", "viewer"))
    return Seeded(url, str(data / DATABASE), token, editor, viewer, crm, other)


def sign_up_owner(url: str) -> str:
    """Return the token of a new server's first user, who owns everything."""
    return _token(url, _signed_up(url, "owner@example.com"))


def base_with_rows(url: str, token: str, title: str, *, readings: int = 0) -> Base:
    """A new base with Customers and Orders, and Readings where it is to have any."""
    result = call(f"{url}/api/v2/meta/bases", {"title": title}, xc_token=token)
    return _Seeding(url, token, str(result["id"])).fill_base(readings)


class ReusedBase:
    """A base for one test after the other: to make one takes half a second of processor time.

    `take` writes its first rows back into the server's own database. Where a test changed tables
    or fields, it makes a new base, as at first.
    """

    def __init__(self, seeded: Seeded, make: Callable[[], Base]) -> None:
        self._database = seeded.database
        self._make = make
        self._base: Base | None = None
        self._fields: list[Any] = []
        self._rows: dict[str, list[Any]] = {}

    def take(self) -> Base:
        with closing(sqlite3.connect(self._database, timeout=60)) as database, database:
            if self._base and self._fields == _read_fields(database, self._base):
                database.execute("PRAGMA synchronous = OFF")  # the server waits for this write
                for table, rows in self._rows.items():
                    database.execute(f"DELETE FROM {table}")
                    if rows:
                        places = ", ".join("?" * len(rows[0]))
                        database.executemany(f"INSERT INTO {table} VALUES ({places})", rows)
                return self._base
            self._base = self._make()
            self._fields = _read_fields(database, self._base)
            names = {field[0] for field in self._fields}
            self._rows = {
                name: database.execute(f"SELECT * FROM {name}").fetchall() for name in names
            }
            return self._base


def _read_fields(database: sqlite3.Connection, base: Base) -> list[Any]:
    """All fields of a base, with the table of the database that holds them first."""
    return database.execute(
        "SELECT table_name, fields.* FROM nc_models_v2 AS tables "
        "JOIN nc_columns_v2 AS fields ON fields.fk_model_id = tables.id "
        "WHERE tables.base_id = ? ORDER BY fields.id",
        (base.id,),
    ).fetchall()


@dataclass(frozen=True, slots=True)
class _Seeding:
    url: str
    token: str
    base: str

    def fill_base(self, readings: int) -> Base:
        names = [name for name in FIELDS if readings or name != "Readings"]
        meta = f"{self.url}/api/v3/meta/bases/{self.base}/tables"
        results = {n: self._post(meta, {"title": n, "fields": FIELDS[n]}) for n in names}
        tables = {name: str(table["id"]) for name, table in results.items()}
        fields = {
            (name, field["title"]): str(field["id"])
            for name, table in results.items()
            for field in table["fields"]
        }
        customers = f"{meta}/{tables['Customers']}/fields"
        for title, type, options in (
            (
                "Orders",
                "LinkToAnotherRecord",
                {"relation_type": "hm", "related_table_id": tables["Orders"]},
            ),
            (
                "Total",
                "Rollup",
                {
                    "rollup_function": "sum",
                    "related_table_rollup_field_id": fields["Orders", "Amount"],
                },
            ),
        ):
            if type == "Rollup":
                options["related_field_id"] = fields["Customers", "Orders"]
            field = {"title": title, "type": type, "options": options}
            fields["Customers", title] = str(self._post(customers, field)["id"])
        self._rows(tables, readings)
        data = f"{self.url}/api/v3/data/{self.base}/{tables['Customers']}"
        self._post(f"{data}/links/{fields['Customers', 'Orders']}/1", [{"id": 1}, {"id": 2}])
        contract = fields["Customers", "Contract"]
        self._post(f"{data}/records/1/fields/{contract}/upload", ATTACHMENT)
        return Base(self.base, tables)

    def _rows(self, tables: Mapping[str, str], readings: int) -> None:
        rows = {
            "Customers": [customer(number) for number in range(1, 31)],
            "Orders": [order(number) for number in range(1, 61)],
            "Readings": [reading(number) for number in range(1, readings + 1)],
        }
        for name, table in tables.items():
            path = f"{self.url}/api/v2/tables/{table}/records"
            for start in range(0, len(rows[name]), _BULK):
                self._post(path, rows[name][start : start + _BULK])

    def _post(self, url: str, body: object) -> Any:
        return call(url, body, xc_token=self.token)


_TEXT, _DECIMAL = "SingleLineText", "Decimal"
_CHOICES = {"choices": [{"title": title} for title in STATUS]}
FIELDS: Mapping[str, list[Json]] = {
    "Customers": [
        {"title": "Name", "type": _TEXT},
        {"title": "Email", "type": "Email"},
        {"title": "Status", "type": "SingleSelect", "options": _CHOICES},
        {
            "title": "Tags",
            "type": "MultiSelect",
            "options": {"choices": [{"title": "vip"}, {"title": "late payer"}, {"title": "new"}]},
        },
        {"title": "Value", "type": _DECIMAL},
        {"title": "Active", "type": "Checkbox"},
        {"title": "Since", "type": "Date"},
        {"title": "Seen", "type": "DateTime"},
        {"title": "Notes", "type": "LongText"},
        {"title": "Contract", "type": "Attachment"},
    ],
    "Orders": [
        {"title": "Title", "type": _TEXT},
        {"title": "Amount", "type": _DECIMAL},
        {"title": "Paid", "type": "Checkbox"},
        {"title": "Due", "type": "Date"},
    ],
    "Readings": [{"title": "Label", "type": _TEXT}, {"title": "Value", "type": "Number"}],
}
ATTACHMENT = {
    "contentType": "text/plain",
    "filename": "contract.txt",
    "file": base64.b64encode(b"Ten chairs, due in May.").decode(),
}


def customer(number: int) -> Json:
    return {
        "Name": f"Customer {number:02d}",
        "Email": f"c{number:02d}@example.com",
        "Status": STATUS[number % 3],
        "Tags": "vip,new" if number % 5 == 0 else None,
        "Value": number * 10.5,
        "Active": number % 2 == 0,
        "Since": f"2026-{number % 12 + 1:02d}-{number:02d}",
        "Seen": f"2026-11-{number % 20 + 1:02d} 12:30:00+00:00",
        "Notes": f"Note {number},\nin two lines" if number % 7 == 0 else None,
    }


def order(number: int) -> Json:
    return {
        "Title": f"Order {number:02d}",
        "Amount": number * 1.5,
        "Paid": number % 2 == 0,
        "Due": f"2026-{number % 12 + 1:02d}-15",
    }


def reading(number: int) -> Json:
    return {"Label": f"r{number:04d}", "Value": number}


def _signed_up(url: str, email: str, invitation: str = "") -> str:
    """Return the session token of a new user."""
    body = {"email": email, "password": secrets.token_urlsafe(16)}
    if invitation:
        body["token"] = invitation
    return str(call(f"{url}/api/v1/auth/user/signup", body)["token"])


def _token(url: str, jwt: str) -> str:
    return str(call(f"{url}/api/v1/tokens", {"description": "tests"}, xc_auth=jwt)["token"])


def _member(url: str, token: str, base: str, role: str, data: Path) -> str:
    email = f"{role}@example.com"
    invitation = {"email": email, "roles": role}
    call(f"{url}/api/v2/meta/bases/{base}/users", invitation, xc_token=token)
    with closing(sqlite3.connect(f"file:{data / DATABASE}?mode=ro", uri=True)) as database:
        result = database.execute("select invite_token from nc_users_v2 where email=?", (email,))
        return _token(url, _signed_up(url, email, result.fetchone()[0]))
