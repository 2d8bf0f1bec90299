"""The pictures of the documents: each is there, is shown, and still says what Ponte says."""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import pytest_asyncio

from tests.pictures import camera, discord
from tests.pictures.record import FOLDER, ROOT, Json, digest, names, record
from tests.pictures.scenes import play_scenes
from tests.pictures.studio import MOMENT, name_changes, studio

DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
SHOWN = re.compile(r"!\[(?P<told>[^\]]*)\]\((?P<path>[^)\s]+)\)")
MAX_PICTURES_BYTES = 2_500_000
"""Bytes of all of them: who clones the repository gets them too."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def drawings(
    run_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Json]:
    """All scenes, played anew by one test process for all; nothing is photographed."""
    file = run_folder / "drawings.json"
    with (run_folder / "drawings.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            folder = tmp_path_factory.mktemp("studio")
            async with studio(folder) as result, camera.camera(develops=False) as looking:
                played = {each.name: each.drawing async for each in play_scenes(result, looking)}
            file.write_text(json.dumps(played))
    drawings: Mapping[str, Json] = json.loads(file.read_text())
    return drawings


def documented_pictures() -> list[tuple[Path, str, Path]]:
    """(document, what is told of the picture, its path) of each. Drawings are no pictures of the
    product."""
    return [
        (document, matche["told"], (document.parent / matche["path"]).resolve())
        for document in DOCUMENTS
        for matche in SHOWN.finditer(document.read_text("utf-8"))
        if "://" not in matche["path"] and not matche["path"].endswith(".svg")
    ]


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", names())
async def test_it_still_says_what_the_code_makes(drawings: Mapping[str, Json], name: str) -> None:
    """Else: look whether that is meant, and `make pictures`."""
    assert drawings[name] == record(name)["drawing"]


@pytest.mark.asyncio(loop_scope="module")
async def test_each_scene_is_recorded(drawings: Mapping[str, Json]) -> None:
    assert sorted(drawings) == names()


def test_each_picture_is_the_one_that_was_taken_with_its_record() -> None:
    assert {name: digest(name) for name in names()} == {
        name: record(name)["sha256"] for name in names()
    }


def test_documents_show_pictures_that_are_there_and_say_what_is_in_them() -> None:
    for document, text, path in documented_pictures():
        assert path.parent == FOLDER, f"{document.name}: {path}"
        assert path.stem in names(), f"{document.name}: {path.name} is taken by no scene"
        assert len(text.split()) >= 4, f"{document.name}: {path.name}: say what is in it"


def test_each_picture_is_shown_somewhere_and_no_other_lies_there() -> None:
    assert {path.stem for _, _, path in documented_pictures()} == set(names())
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.webp" for name in names()}


def test_all_pictures_together_stay_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < MAX_PICTURES_BYTES


@pytest.mark.parametrize("name", names())
def test_what_is_drawn_is_drawn_from_the_record_alone(name: str) -> None:
    """No block, embed or control sequence is left out in silence: the drawing refuses those."""
    drawing = record(name)["drawing"]
    if drawing["kind"] == "page":
        return
    for frame in drawing.get("frames", [drawing]):
        text = re.sub(r"<style>.*</style>|<[^>]+>", " ", camera.document(frame, {}), flags=re.S)
        assert len(text.split()) > 10


def test_the_moving_picture_of_the_readme_is_small() -> None:
    assert (FOLDER / "slack-film.webp").stat().st_size <= 1_000_000


def test_only_ids_of_changes_are_replaced() -> None:
    text = '"denied · undone \\tk2cdef\\t p5m2xa · k2cdef" "summer" "approve 44abcd" "#2f6f73"'
    assert name_changes(text).replace("\t", "\\t") == (
        '"denied · undone \\tk3r7wd\\t p5m2xa · k3r7wd" "summer" "approve t6h4qe" "#2f6f73"'
    )


def test_discord_shows_a_line_in_small_type_and_a_moment_in_full() -> None:
    text = f"Done.\n-# <t:{int(MOMENT.timestamp())}:f>"
    drawing = discord.prose(discord.replace_moments(text))
    assert drawing == "<p>Done.<br />\n<small>19 November 2026 10:42</small></p>\n"
