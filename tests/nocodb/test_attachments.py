"""Files of a conversation in rows: uploaded after approval, added to those that are there, and
taken out by an undo. Over the fake and over a real NocoDB."""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any
from unittest.mock import AsyncMock

import pytest

from core.base.errors import ToolError
from core.base.text import clean_text
from core.changes.card_rows import build_rows
from core.domain.changes import Change, Proposal
from core.domain.records import Outcome
from core.domain.rights import Viewer
from core.tools.nocodb.api import NocoApi
from core.tools.nocodb.summarize import build_read_tools
from tests.core.tools.scene import make_tool_context
from tests.fakes.nocodb.server import FakeNocoDB
from tests.nocodb.places import Place, catch_error, only_fake, refusal
from tests.nocodb.write_tools import ANA, HERE, MemoryFiles, WriteTools

PDF = b"%PDF-1.4 receipt"
NAMES = [
    "relat\u00f3rio fran\u00e7ais \u65e5\u672c.csv",
    "a b#%25&'.txt",
    "noext",
    "\u202efdp.exe",
    "x" * 90 + ".txt",
]


class Reader:
    """`nocodb_get` over one base, and the files that it put into the conversation."""

    def __init__(self, place: Place) -> None:
        self.files = MemoryFiles()
        self.api = place.api()
        tools, _ = build_read_tools(self.api, place.schemas(), clock=time.time)
        self._get = next(tool for tool in tools if tool.spec.name == "nocodb_get")

    async def read(self, file: str | None, row: int = 2) -> Outcome:
        ctx = replace(make_tool_context(ANA, HERE, AsyncMock()), files=self.files)
        call = {"table": "Customers", "id": row, "file": file}
        return await self._get.run(ctx, json.dumps(call))

    async def refusal(self, file: str) -> ToolError:
        error = await catch_error(self.read(file))
        assert self.files.stored == {}
        return error


async def put(place: Place, cell: list[dict[str, Any]], row: int = 2) -> None:
    """Write a cell as any program that may write rows can."""
    at = (await place.schemas().describe_table(Viewer(), "Customers")).at
    await place.api().set_attachments(at, str(row), "Id", {"Contract": cell})


@pytest.fixture
def tools(own_place: Place) -> WriteTools:
    return WriteTools.of(own_place)


async def attach(tools: WriteTools, *names: str, row: int = 2, **cells: Any) -> Change:
    fields = {"Contract": list(names), **cells}
    return await tools.write("nocodb_update", changes=[{"id": row, "fields": fields}])


def titles(cell: Any) -> list[str]:
    return [file["title"] for file in cell or ()]


def card_values(tools: WriteTools) -> dict[str, str]:
    """What the card of the last draft shows, by field."""
    proposal = Proposal("abcde2", tools.drafts[-1], ANA, HERE, 1, "c1", "t1", 0, "en", 0.0, 1.0)
    change = Change(proposal, steps=tools.drafts[-1].steps)
    (row,) = build_rows(change)
    return {one["field"]: f"{one['before']} -> {one['after']}" for one in row["changes"]}


async def test_uploads_that_are_refused(own_place: Place, place: Place) -> None:
    viewer = NocoApi(place.url, place.viewer, place.http, pauses=())
    refusals = await refusal(viewer.upload_file("a.txt", "text/plain", b"a"))
    assert refusals.code == "nocodb_forbidden"
    assert "Ponte's NocoDB user doesn't have permission to upload files." in str(refusals)
    large = await refusal(own_place.api().upload_file("a", "text/plain", b"a" * ((20 << 20) + 1)))
    assert (large.code, large.unsure) == ("too_large", False)
    wrong = NocoApi(place.url, "wrong", place.http, pauses=())
    assert (await refusal(wrong.upload_file("a", "text/plain", b"a"))).code == "nocodb_token"


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        [],
        "stored",
        [None],
        [{}],
        [{"title": "a.txt", "size": 1}],
        [{"path": ""}],
        [{"path": "download/a"}, {"path": "download/b"}],
    ],
)
async def test_odd_answers_to_an_upload_are_refused(
    fake: FakeNocoDB, http: Any, answer: object
) -> None:
    api = NocoApi(fake.origin, "token", http, pauses=())
    vars(api)["_send"] = AsyncMock(return_value=answer)
    assert (await refusal(api.upload_file("a.txt", "text/plain", b"a"))).code


async def test_files_are_added_and_an_undo_restores_the_former_list(tools: WriteTools) -> None:
    tools.files.add("receipt.pdf", "application/pdf", PDF)
    tools.files.add("note.txt", "text/plain", b"paid")
    first = await attach(tools, "receipt.pdf")
    assert titles(await tools.cell("Customers", "2", "Contract")) == ["receipt.pdf"]
    second = await attach(tools, "NOTE.txt")
    cell = await tools.cell("Customers", "2", "Contract")
    assert [(f["title"], f["mimetype"], f["size"]) for f in cell] == [
        ("receipt.pdf", "application/pdf", len(PDF)),
        ("note.txt", "text/plain", 4),
    ]
    assert [step.state for step in (await tools.undone(second)).steps] == ["done"]
    assert titles(await tools.cell("Customers", "2", "Contract")) == ["receipt.pdf"]
    undo = await tools.undone(first)
    assert [step.state for step in undo.steps] == ["done"]
    assert await tools.cell("Customers", "2", "Contract") is None
    await tools.undone(undo)
    assert titles(await tools.cell("Customers", "2", "Contract")) == ["receipt.pdf"]


@only_fake
async def test_a_value_of_another_field_is_never_uploaded(tools: WriteTools) -> None:
    """Even one with all keys of a file of a draft."""
    file = tools.files.add("secret.txt", "text/plain", b"paid")
    digest = hashlib.sha256(b"paid").hexdigest()
    like = {"file": file.id, "title": "x", "mimetype": "text/plain", "size": 4, "sha256": digest}
    draft = await tools.draft("nocodb_update", changes=[{"id": 2, "fields": {"Notes": "x"}}])
    upload = tools.rows.driver.upload = AsyncMock()  # type: ignore[method-assign]
    with suppress(ToolError):  # no field of texts takes it
        write = replace(draft.rows[0], after={"Notes": [like]})
        await tools.rows.open(draft).write([write])
    assert upload.await_count == 0


@only_fake
async def test_the_card_names_the_new_file_alone(tools: WriteTools) -> None:
    tools.files.add("receipt.pdf", "application/pdf", PDF)
    tools.files.add("note.txt", "text/plain", b"paid")
    await attach(tools, "receipt.pdf")
    await tools.draft(
        "nocodb_update", changes=[{"id": 2, "fields": {"Contract": "note.txt", "Value": 7}}]
    )
    values = card_values(tools)
    digest = hashlib.sha256(b"paid").hexdigest()[:16]
    assert values["Contract"] == f"None -> + note.txt (4 B, text/plain, SHA-256 {digest})"
    assert values["Value"].endswith(" -> 7")
    change = await tools.all_done(tools.drafts[-1])
    assert (await tools.cell("Customers", "2", "Value")) == 7
    assert [step.state for step in (await tools.undone(change)).steps] == ["done", "done"]
    assert titles(await tools.cell("Customers", "2", "Contract")) == ["receipt.pdf"]


async def test_a_new_row_with_a_file(tools: WriteTools) -> None:
    tools.files.add("receipt.pdf", "application/pdf", PDF)
    change = await tools.write(
        "nocodb_create", rows=[{"Name": "With file", "Contract": "receipt.pdf"}]
    )
    (step,) = change.steps
    assert titles(await tools.cell("Customers", step.write.id, "Contract")) == ["receipt.pdf"]
    assert [one.state for one in (await tools.undone(change)).steps] == ["done"]


@only_fake
async def test_one_file_goes_into_each_row_that_filters_select(tools: WriteTools) -> None:
    tools.files.add("terms.txt", "text/plain", b"terms")
    filters = [{"field": "Name", "op": "contains", "value": "Customer 1"}]
    change = await tools.write("nocodb_update", filters=filters, set={"Contract": "terms.txt"})
    assert len(change.steps) == 10
    assert titles(await tools.cell("Customers", "15", "Contract")) == ["terms.txt"]


@only_fake
@pytest.mark.parametrize(
    "named",
    [
        "other.pdf",
        "/etc/passwd",
        {"file": "f1", "sha256": "0", "title": "x", "path": "download/x"},
        [{"url": "http://127.0.0.1/x", "title": "x"}],
        7,
        ["receipt.pdf", "other.pdf"],
    ],
)
async def test_only_files_of_the_conversation_can_be_named(
    tools: WriteTools, named: object
) -> None:
    tools.files.add("receipt.pdf", "application/pdf", PDF)
    error = await tools.error_of_call(
        "nocodb_update", changes=[{"id": 2, "fields": {"Contract": named}}]
    )
    assert error.code == "unknown_file"
    assert "'receipt.pdf' (id f1, 16 bytes)" in error.hint


@only_fake
async def test_of_several_files_with_one_name_the_id_decides(own_place: Place) -> None:
    tools = WriteTools.of(own_place)
    tools.files.add("receipt.pdf", "application/pdf", PDF)
    tools.files.add("receipt.pdf", "application/pdf", b"newer")
    error = await tools.error_of_call(
        "nocodb_update", changes=[{"id": 2, "fields": {"Contract": "receipt.pdf"}}]
    )
    assert "several files named receipt.pdf" in str(error)
    assert error.hint.endswith("(id f1, 16 bytes), 'receipt.pdf' (id f2, 5 bytes)")
    await attach(tools, "f2")
    assert [f["size"] for f in await tools.cell("Customers", "2", "Contract")] == [5]


@only_fake
@pytest.mark.parametrize("how", ["deleted", "changed"])
async def test_a_file_that_is_not_the_approved_one_is_not_uploaded(
    tools: WriteTools, fake: FakeNocoDB, how: str
) -> None:
    file = tools.files.add("receipt.pdf", "application/pdf", PDF)
    tools.files.add("note.txt", "text/plain", b"paid")
    names = ["note.txt", "receipt.pdf"]
    for tool, cells in (
        ("nocodb_update", {"changes": [{"id": 2, "fields": {"Contract": names}}]}),
        ("nocodb_create", {"rows": [{"Name": "x", "Contract": names}]}),
    ):
        tools.files.stored[file.id] = file, PDF
        draft = await tools.draft(tool, **cells)
        if how == "deleted":
            del tools.files.stored[file.id]
        else:
            tools.files.stored[file.id] = file, PDF[::-1]
        with pytest.raises(ToolError, match=f"The file receipt.pdf (was )?{how} after this req"):
            await tools.apply_draft(draft)
    assert fake.write_calls == []


@only_fake
async def test_a_file_that_was_added_meanwhile_is_kept(tools: WriteTools) -> None:
    tools.files.add("receipt.pdf", "application/pdf", PDF)
    tools.files.add("note.txt", "text/plain", b"paid")
    fields = {"Contract": "receipt.pdf"}
    draft = await tools.draft("nocodb_update", changes=[{"id": 2, "fields": fields}])
    await attach(tools, "note.txt")
    first = await tools.all_done(draft)
    assert titles(await tools.cell("Customers", "2", "Contract")) == ["note.txt", "receipt.pdf"]
    tools.files.add("last.txt", "text/plain", b"last")
    last = await attach(tools, "last.txt")
    for change, remaining_files in ((first, ["note.txt", "last.txt"]), (last, ["note.txt"])):
        assert [step.state for step in (await tools.undone(change)).steps] == ["done"]
        assert titles(await tools.cell("Customers", "2", "Contract")) == remaining_files
    assert [step.state for step in (await tools.undone(first)).steps] == ["changed"]


@only_fake
async def test_files_are_not_cleared_if_another_was_added(tools: WriteTools) -> None:
    tools.files.add("receipt.pdf", "application/pdf", PDF)
    fields = {"Contract": None}
    draft = await tools.draft("nocodb_update", changes=[{"id": 1, "fields": fields}])
    await attach(tools, "receipt.pdf", row=1)
    (step,) = (await tools.apply_draft(draft)).steps
    assert step.state == "changed"
    assert titles(await tools.cell("Customers", "1", "Contract"))[1:] == ["receipt.pdf"]


@only_fake
async def test_the_same_file_of_two_requests_is_attached_once(tools: WriteTools) -> None:
    tools.files.add("receipt.pdf", "application/pdf", PDF)
    fields = {"Contract": "receipt.pdf"}
    draft = await tools.draft("nocodb_update", changes=[{"id": 2, "fields": fields}])
    await attach(tools, "receipt.pdf")
    (step,) = (await tools.apply_draft(draft)).steps
    assert step.state == "changed"
    assert titles(await tools.cell("Customers", "2", "Contract")) == ["receipt.pdf"]


@only_fake
async def test_a_file_that_nocodb_cut_is_not_attached(
    tools: WriteTools, fake: FakeNocoDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools.files.add("receipt.pdf", "application/pdf", PDF)
    fields = {"Contract": "receipt.pdf"}
    draft = await tools.draft("nocodb_update", changes=[{"id": 2, "fields": fields}])

    async def cut(*args: Any, **options: Any) -> Any:
        return {"path": "download/x", "title": "receipt.pdf", "size": 3}

    monkeypatch.setattr(tools.api, "upload_file", cut)
    with pytest.raises(ToolError, match="didn't store all"):
        await tools.apply_draft(draft)
    assert fake.write_calls == []


@only_fake
async def test_after_a_crash_the_row_tells_whether_the_file_is_attached(tools: WriteTools) -> None:
    """The draft alone is known then: it has no path of the uploaded file."""
    tools.files.add("receipt.pdf", "application/pdf", PDF)
    fields = {"Contract": "receipt.pdf"}
    draft = await tools.draft("nocodb_update", changes=[{"id": 1, "fields": fields}])
    assert await tools.standing(draft) == ["before"]
    batch = tools.rows.open(draft)
    await batch.write(draft.rows)
    assert await tools.standing(draft) == ["after"]
    (check,) = await tools.rows.open(draft).check(draft.rows)
    assert check.current
    assert titles(check.current["Contract"]) == ["contract.txt", "receipt.pdf"]


async def test_a_file_of_a_row_is_read_as_it_was_stored(own_place: Place) -> None:
    """Its name, type and size stay, whatever the name."""
    for name in NAMES:
        upload = await own_place.api().upload_file(name, "text/csv", b"a;b\n", by="slack:U1")
        assert (upload["size"], upload["mimetype"]) == (4, "text/csv")
        assert upload["path"].startswith("download/")
        assert upload["signedPath"].startswith("dltemp/")
        await put(own_place, [{**upload, "title": name}])
        reader = Reader(own_place)
        row = (await reader.read(None)).text
        view = clean_text(name)
        assert json.loads(row)["row"]["Contract"] == f"{view} (4 B)"
        outcome = await reader.read(view)
        assert outcome.shows_files
        assert [(f.type, f.size) for f in outcome.files] == [("text/csv", 4)]
        assert reader.files.stored[outcome.files[0].id][1] == b"a;b\n"
        assert "Source: Customers, row 2, " in outcome.sources[0]


ELSEWHERE = [
    {"url": "http://169.254.169.254/latest"}, {"url": "https://evil.example/x", "path": ""},
    {"path": "http://169.254.169.254/latest"}, {"path": "//169.254.169.254/latest"},
    {"path": "download/../api/v1/health"}, {"path": "download/x/../../api/v1/health"},
    {"path": "download/./x"}, {"path": "api/v1/health"}, {"path": "/download/x"},
    {"path": "download/..\\x", "code": "file_gone"},
    {"path": "download/none", "code": "file_gone"},
    {"path": "download/%2e%2e/api/v1/health", "code": "file_gone"}, {"path": ""},
]  # fmt: skip


async def test_only_nocodbs_own_paths_are_read(own_place: Place) -> None:
    """NocoDB signs whatever path a cell has, and passes on whatever address."""
    reader = Reader(own_place)
    for file in ELSEWHERE:
        cell = {"title": "x.txt", "mimetype": "text/plain", "size": 3, **file}
        code = cell.pop("code", "file_elsewhere")
        await put(own_place, [cell])
        assert (await reader.refusal("x.txt")).code == code, file


@only_fake
async def test_no_other_host_and_no_redirect(place: Place, fake: FakeNocoDB) -> None:
    await put(
        place,
        [
            {
                "title": "x.txt",
                "size": 23,
                "path": "download/contract.txt",
                "signedPath": f"{fake.origin}/dltemp/x",
            }
        ],
    )
    reader = Reader(place)
    assert (await reader.read("x.txt")).files[0].size == 23
    assert all("xc-token" not in headers for headers in fake.downloads)
    fake.moved = f"{fake.origin}/download/contract.txt"
    error = await catch_error(reader.read("x.txt"))
    assert (error.code, len(fake.downloads)) == ("file_gone", 2)


@only_fake
@pytest.mark.parametrize("size", [(20 << 20) + 1, 3, None])
async def test_a_file_over_the_limit_is_not_read(
    place: Place, fake: FakeNocoDB, size: object
) -> None:
    """Whatever size the cell names."""
    fake.world.files["download/big"] = b"a" * ((20 << 20) + 1)
    await put(place, [{"title": "big.txt", "path": "download/big", "size": size}])
    assert (await Reader(place).refusal("big.txt")).code == "too_large"
    assert len(fake.downloads) == (size != (20 << 20) + 1)


@only_fake
async def test_a_name_that_the_row_does_not_have(place: Place) -> None:
    reader = Reader(place)
    error = await catch_error(reader.read("nope.txt", row=1))
    assert (error.code, error.hint) == ("unknown_file", "contract.txt (23 B)")
    assert (await reader.read("CONTRACT.txt", row=1)).files[0].size == 23


@only_fake
async def test_of_files_with_one_name_the_last_is_read(place: Place, fake: FakeNocoDB) -> None:
    for number in (1, 2):
        fake.world.files[f"download/{number}"] = b"a" * number
    await put(place, [{"title": "a", "path": f"download/{n}", "size": n} for n in (1, 2)])
    assert (await Reader(place).read("a")).files[0].size == 2
