"""A table with a field of every kind, as NocoDB would describe it."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from core.tools.nocodb.fieldtypes import Field
from core.tools.nocodb.filters import Filter, Match, Op, Selection, Value
from core.tools.nocodb.schema import Table

PARIS = ZoneInfo("Europe/Paris")
NOW = datetime(2026, 11, 20, 14, 5, tzinfo=PARIS)

DEALS = Table(
    id="mdeals",
    title="Deals",
    base="pcrm",
    display="cname",
    fields=(
        Field("cid", "Id", "ID"),
        Field("cname", "Name", "SingleLineText"),
        Field("cstage", "Stage", "SingleSelect", options=("Lead", "Won", "Lost")),
        Field("ctags", "Tags", "MultiSelect", options=("vip", "late payer")),
        Field("cvalue", "Value", "Currency"),
        Field("cpaid", "Paid", "Checkbox"),
        Field("cdue", "Due", "Date"),
        Field("cseen", "Seen", "DateTime"),
        Field("cowner", "Owner", "User"),
        Field("cfiles", "Files", "Attachment"),
        Field("corders", "Orders", "LinkToAnotherRecord", related="morders"),
        Field("cmates", "Mates", "Links", related="mmates"),
        Field("cresult", "Result", "Formula"),
        Field("CreatedAt", "CreatedAt", "CreatedTime"),
    ),
)


def make_selection(*filters: tuple[str, Op, Value], match: Match = "all") -> Selection:
    return Selection.of(DEALS, [Filter(*each) for each in filters], match, NOW)


def where(*filters: tuple[str, Op, Value], match: Match = "all") -> str:
    return make_selection(*filters, match=match).where.v3
