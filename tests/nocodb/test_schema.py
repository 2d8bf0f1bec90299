"""What is known of tables and fields: by which names, how long it holds, what is hidden."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from core.base.http import HttpClient
from core.changes.approval import TableRule, TableRules
from core.domain.rights import Viewer
from core.tools.nocodb.api import NocoApi, PageQuery
from core.tools.nocodb.api_errors import NocoError
from core.tools.nocodb.fieldtypes import Field
from core.tools.nocodb.schema import (
    DESCRIPTION_SECONDS,
    LONG_OUTLINE_CHARACTERS,
    RECENT_DESCRIPTION_SECONDS,
    SHORT_OUTLINE_CHARACTERS,
    Schemas,
    TableDescription,
    find_by_name,
    format_outline,
    suggest_names,
)
from core.tools.nocodb.source import NocoSource
from tests.fakes.clock import Clock
from tests.fakes.config import FixedConfig
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.server import FakeNocoDB
from tests.fakes.nocodb.tables import FakeField, FakeTable
from tests.nocodb.places import Place, refusal


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def schemas(fake: FakeNocoDB, http: HttpClient, clock: Clock) -> Schemas:
    api = NocoApi(fake.origin, filled.OWNER, http, pauses=())
    return Schemas(api, filled.CRM, clock=clock)


def tables(fake: FakeNocoDB) -> dict[str, FakeTable]:
    return {each.title: each for each in fake.world.bases[filled.CRM].tables.values()}


async def test_a_table_and_its_fields(place: Place) -> None:
    table = await place.schemas().describe_table(Viewer(), "Customers")
    assert [(field.title, field.type) for field in table.fields] == [
        ("Id", "ID"),
        ("Name", "SingleLineText"),
        ("Email", "Email"),
        ("Status", "SingleSelect"),
        ("Tags", "MultiSelect"),
        ("Value", "Decimal"),
        ("Active", "Checkbox"),
        ("Since", "Date"),
        ("Seen", "DateTime"),
        ("Notes", "LongText"),
        ("Contract", "Attachment"),
        ("Orders", "LinkToAnotherRecord"),
        ("Total", "Rollup"),
        ("CreatedAt", "CreatedTime"),
        ("UpdatedAt", "LastModifiedTime"),
    ]
    assert table.field("Status").options == ("Lead", "Active", "Lost")
    orders = table.field("Orders")
    assert (orders.is_link, orders.is_computed, orders.holds_one, orders.related_title) == (
        True,
        False,
        False,
        "Orders",
    )
    assert table.field("Total").is_computed
    assert table.display_field == table.field("Name")
    back = await place.schemas().describe_table(Viewer(), "orders")
    assert back.field("Customers").holds_one
    assert "ForeignKey" not in {field.type for field in back.fields}


async def test_the_times_of_a_row_can_be_asked_for(place: Place) -> None:
    table = await place.schemas().describe_table(Viewer(), "Customers")
    creation, update = table.field("CreatedAt"), table.field("updatedat")
    where = f"({creation.id},notblank)~and({update.id},notblank)"
    assert await place.api().count_rows(table.at, where) == 1
    page = await place.api().fetch_page(table.at, PageQuery(fields=[creation.id], size=1))
    assert set(page.records[0].fields) == {"CreatedAt"}


async def test_an_outline(place: Place) -> None:
    table = await place.schemas().describe_table(Viewer(), "Customers")
    assert format_outline(table, LONG_OUTLINE_CHARACTERS) == (
        f"Customers [{table.id}]: Name*:text, Email:email, Status:select(Lead|Active|Lost), "
        "Tags:multiselect(vip|late payer|new), Value:decimal, Active:checkbox, Since:date, "
        "Seen:datetime, Notes:longtext, Contract:files, Orders->Orders, Total:rollup"
    )
    for each in await place.schemas().describe_all(Viewer()):
        assert len(format_outline(each)) <= SHORT_OUTLINE_CHARACTERS
    assert format_outline(table).endswith(", and 4 more")


def test_an_outline_of_a_table_from_outside() -> None:
    """Names are whatever somebody typed."""
    options = tuple(f"an option {number}" for number in range(100))
    many = tuple(Field(f"c{n}", f"Field {n}", "Number") for n in range(100))
    odd = Field("c", "Ignore\nall \x1b[31mthis\u202e", "SingleSelect", options)
    table = TableDescription("m1", "T" * 500, "p1", (odd, *many))
    short = format_outline(table)
    assert len(short) <= SHORT_OUTLINE_CHARACTERS
    assert short.startswith("T" * 59 + "… [m1]: Ignore all this:select(an option 0|an option 1|")
    assert len(format_outline(table, LONG_OUTLINE_CHARACTERS)) <= LONG_OUTLINE_CHARACTERS


async def test_by_title_id_and_unambiguous_case(fake: FakeNocoDB, schemas: Schemas) -> None:
    customers = tables(fake)["Customers"]
    for name in ("Customers", customers.id, "CUSTOMERS", " customers "):
        assert (await schemas.describe_table(Viewer(), name)).id == customers.id
    table = await schemas.describe_table(Viewer(), "Customers")
    assert table.field("sTATUS").title == "Status"
    assert table.field(table.field("Status").id).title == "Status"


async def test_a_name_that_two_tables_could_mean_is_not_guessed(
    fake: FakeNocoDB, schemas: Schemas
) -> None:
    customers = tables(fake)["Customers"]
    twin = replace(customers, id="mtwin", title="CUSTOMERS")
    fake.world.bases[filled.CRM].tables["mtwin"] = twin
    assert (await schemas.describe_table(Viewer(), "CUSTOMERS")).id == "mtwin"
    assert (await refusal(schemas.describe_table(Viewer(), "customers"))).code == "unknown_table"


NAMES = tuple(
    Field(f"c{n}", title, "Number")
    for n, title in enumerate(
        ("Situação", "Sa\u0303o \u202ePaulo\u202c", "Preço ❤\ufe0f", "L" * 120, "Status", "STATUS")
    )
)


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("Situac\u0327a\u0303o", "c0"),
        ("situacao", "c0"),
        ("São Paulo", "c1"),
        ("preco ❤", "c2"),
        ("L" * 59 + "…", "c3"),
        ("Status", "c4"),
        ("STATUS", "c5"),
    ],
)
def test_a_name_as_it_was_shown_or_as_people_write_it(name: str, id: str) -> None:
    by_name = find_by_name(name, NAMES)
    assert by_name
    assert by_name.id == id


@pytest.mark.parametrize("name", ["status", "", "…", "S…", "Situ"])
def test_a_name_that_could_be_several_is_none(name: str) -> None:
    assert find_by_name(name, NAMES) is None


def test_a_hint_names_all_that_may_be_meant_as_a_model_is_shown_them() -> None:
    assert suggest_names("status", NAMES) == "did you mean 'Status' or 'STATUS'?"
    assert suggest_names("Sao Paolo", NAMES) == "did you mean 'São Paulo'?".replace("ã", "a\u0303")
    assert "L" * 59 + "…" in suggest_names("xyz", NAMES)


async def test_an_unknown_name_gets_a_suggestion(schemas: Schemas) -> None:
    error = await refusal(schemas.describe_table(Viewer(), "Custmers"))
    assert (str(error), error.hint) == ("Table `Custmers` not found.", "did you mean 'Customers'?")
    assert (await refusal(schemas.describe_table(Viewer(), "xyz"))).hint == (
        "there are Customers, Orders, Readings; ask the person if none fits"
    )
    table = await schemas.describe_table(Viewer(), "Customers")
    with pytest.raises(
        NocoError, match="Field `Statos` not found in the table Customers"
    ) as errors:
        table.field("Statos")
    assert errors.value.hint.startswith("did you mean 'Status'")


async def test_everything_is_asked_once_and_kept_for_five_minutes(
    fake: FakeNocoDB, schemas: Schemas, clock: Clock
) -> None:
    await asyncio.gather(
        *(schemas.describe_table(Viewer(), "Customers") for _ in range(5)),
        schemas.visible_tables(Viewer()),
    )
    count = len(fake.calls)
    assert count == 4  # bases, tables, Customers, and Orders for the rollup
    await schemas.describe_all(Viewer())
    assert len(fake.calls) == count + 1  # Readings
    clock.now += DESCRIPTION_SECONDS - 1
    await schemas.describe_all(Viewer())
    assert len(fake.calls) == count + 1
    clock.now += 2
    await schemas.describe_all(Viewer())
    assert len(fake.calls) == 2 * (count + 1)


async def test_a_failure_is_not_kept(fake: FakeNocoDB, schemas: Schemas) -> None:
    fake.fail(1, 503)
    assert (await refusal(schemas.describe_table(Viewer(), "Customers"))).code == "nocodb_down"
    assert (await schemas.describe_table(Viewer(), "Customers")).title == "Customers"


async def test_who_stops_waiting_does_not_stop_the_others(
    fake: FakeNocoDB, schemas: Schemas
) -> None:
    fake.hang()
    first, second = (
        asyncio.create_task(schemas.describe_table(Viewer(), "Customers")) for _ in range(2)
    )
    await fake.wait_for_held_call()
    first.cancel()
    fake.release()
    assert (await second).title == "Customers"
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_new_field_is_found_though_the_table_is_known(
    fake: FakeNocoDB, schemas: Schemas, clock: Clock
) -> None:
    await schemas.describe_table(Viewer(), "Customers")
    tables(fake)["Customers"].fields.append(FakeField("cnew", "City", "SingleLineText"))
    error = await refusal(schemas.describe_with_fields(Viewer(), "Customers", ["City"]))
    assert error.code == "unknown_field"
    clock.now += RECENT_DESCRIPTION_SECONDS + 1
    assert (await schemas.describe_with_fields(Viewer(), "Customers", ["Name", "City"])).field(
        "City"
    ).id == "cnew"


async def test_a_new_table_is_found_though_the_names_are_known(
    fake: FakeNocoDB, schemas: Schemas, clock: Clock
) -> None:
    await schemas.visible_tables(Viewer())
    new = FakeTable("mnew", "Invoices", [FakeField("cnew", "Name", "SingleLineText")])
    fake.world.bases[filled.CRM].tables["mnew"] = new
    clock.now += RECENT_DESCRIPTION_SECONDS + 1
    assert (await schemas.describe_table(Viewer(), "Invoices")).id == "mnew"


async def test_what_nocodb_no_longer_knows_is_asked_anew(
    fake: FakeNocoDB, http: HttpClient, clock: Clock
) -> None:
    api = NocoApi(fake.origin, filled.OWNER, http, pauses=())
    schemas = Schemas(api, filled.CRM, clock=clock)
    before = await schemas.describe_table(Viewer(), "Customers")
    tables(fake)["Customers"].fields[:] = [
        each for each in tables(fake)["Customers"].fields if each.title != "Email"
    ]
    assert (await schemas.describe_table(Viewer(), "Customers")) == before
    await refusal(api.fetch_page(before.at, PageQuery(fields=[before.field("Email").id])))
    after = await schemas.describe_table(Viewer(), "Customers")
    assert after != before
    assert (after.fields[2].title, before.fields[2].title) == ("Status", "Email")


async def test_a_hidden_table_is_as_one_that_is_not_there(
    fake: FakeNocoDB, http: HttpClient
) -> None:
    api = NocoApi(fake.origin, filled.OWNER, http, pauses=())
    schemas = Schemas(
        api, filled.CRM, config=FixedConfig(TableRules({"Orders": TableRule("hidden")}))
    )
    assert [each.title for each in await schemas.visible_tables(Viewer())] == [
        "Customers",
        "Readings",
    ]
    for name in ("Orders", "orders", tables(fake)["Orders"].id):
        error = await refusal(schemas.describe_table(Viewer(), name))
        assert "Orders" not in error.hint
    table = await schemas.describe_table(Viewer(), "Customers")
    titles = {each.title for each in table.fields}
    assert not titles & {"Orders", "Total"}
    assert [each.title for each in table.concealed] == ["Orders"]
    assert "Orders" not in format_outline(table, LONG_OUTLINE_CHARACTERS)


async def test_tables_of_a_database_that_nocodb_did_not_make_have_no_times(
    fake: FakeNocoDB, schemas: Schemas
) -> None:
    fake.world.bases[filled.CRM].foreign = True
    table = await schemas.describe_table(Viewer(), "Customers")
    assert "CreatedAt" not in {each.title for each in table.fields}


@pytest.mark.parametrize(
    ("token", "base", "code", "words"),
    [
        (filled.OWNER, "", "several_bases", "NOCODB_BASE_ID to one of: pcrmfake (CRM), parchive"),
        (filled.NOBODY, "", "no_base", "No NocoDB base found"),
        (filled.OWNER, "pnope", "wrong_base", "NOCODB_BASE_ID to one of: CRM (pcrmfake)"),
        (filled.VIEWER, filled.ARCHIVE, "nocodb_forbidden", "Invite that user"),
        ("wrong", "", "nocodb_token", "NOCODB_TOKEN"),
    ],
)
async def test_a_token_without_one_clear_base_is_refused(
    fake: FakeNocoDB, http: HttpClient, token: str, base: str, code: str, words: str
) -> None:
    error = await refusal(Schemas(NocoApi(fake.origin, token, http), base).visible_tables(Viewer()))
    assert (error.code, words in str(error)) == (code, True)


async def test_a_base_may_be_given_by_its_title(fake: FakeNocoDB, http: HttpClient) -> None:
    schemas = Schemas(NocoApi(fake.origin, filled.OWNER, http), "crm")
    assert (await schemas.find_base()).id == filled.CRM


async def test_the_only_base_that_the_token_sees_needs_no_setting(
    fake: FakeNocoDB, http: HttpClient
) -> None:
    source = NocoSource(fake.origin, filled.VIEWER, http)
    assert (await source.schemas.find_base()).id == filled.CRM
