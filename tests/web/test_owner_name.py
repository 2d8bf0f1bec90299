"""The owner's name on the page and in the messages that they send."""

from __future__ import annotations

from tests.web.house import WebPonte


async def test_the_owner_changes_their_name() -> None:
    house = WebPonte()
    house.owner_name.current = "root"
    await house.open()
    async with house.client() as owner, house.person(house.people.add("ana")) as ana:
        assert (await owner.get("/me")).json()["name"] == "root"
        changed = await owner.patch("/me", json={"name": "Maya"})
        assert (changed.status_code, changed.json()["text"]) == (200, "Maya")
        assert (await owner.get("/me")).json()["name"] == "Maya"
        await owner.post("/chat", json={"message": "hi"})
        refused = await ana.patch("/me", json={"name": "Bia"})
        assert (refused.status_code, house.owner_name.current) == (403, "Maya")
        assert (await ana.get("/me")).json()["name"] == "ana"
    assert [row.message.author.name for row in house.rows.values()] == ["Maya"]
    await house.close()
