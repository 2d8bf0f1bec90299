"""The owner's name on the page and in the messages that they send."""

from __future__ import annotations

from tests.web.web_ponte import WebPonte


async def test_the_owner_changes_their_name() -> None:
    ponte = WebPonte()
    await ponte.owner_name.change("root")
    await ponte.open()
    async with ponte.client() as owner, ponte.person(ponte.people.add("ana")) as ana:
        assert (await owner.get("/me")).json()["name"] == "root"
        change = await owner.patch("/me", json={"name": "Maya"})
        assert (change.status_code, change.json()["text"]) == (200, "Maya")
        assert (await owner.get("/me")).json()["name"] == "Maya"
        await owner.post("/chat", json={"message": "hi"})
        refusal = await ana.patch("/me", json={"name": "Bia"})
        assert (refusal.status_code, ponte.owner_name.current) == (403, "Maya")
        assert (await ana.get("/me")).json()["name"] == "ana"
    assert [row.message.author.name for row in ponte.rows.values()] == ["Maya"]
    await ponte.close()
