"""The site is whole, needs nobody else, and is not made where a link leads nowhere."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.docs.site import Broken, Site, build, slug

ADDRESS = re.compile(r"(https?|mailto|data):")


class Page(HTMLParser):
    """What a page links, loads, and can be linked at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            elif tag == "a" and name == "href" and value:
                self.links.append(value)
            elif name in ("src", "href") and value:
                self.loads.append(value)


@pytest.fixture(scope="module")
def built_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist") / "site"
    assert build(out) == len([*out.glob("*.html")])
    return out


@pytest.fixture(scope="module")
def pages(built_site: Path) -> dict[str, Page]:
    return {path.name: Page(path.read_text("utf-8")) for path in built_site.glob("*.html")}


def test_every_link_leads_somewhere_on_the_site(built_site: Path, pages: dict[str, Page]) -> None:
    assert {
        "index.html",
        "contents.html",
        "reference-settings.html",
        "changelog.html",
    } <= pages.keys()
    for name, page in pages.items():
        for link in [one for one in page.links if not ADDRESS.match(one)]:
            path, _, anchor = link.partition("#")
            target = path or name
            assert (built_site / target).is_file(), f"{name}: {link}"
            assert not anchor or anchor in pages[target].ids, f"{name}: {link}"


def test_nothing_is_loaded_from_elsewhere(built_site: Path, pages: dict[str, Page]) -> None:
    for name, page in pages.items():
        for load in page.loads:
            assert load.startswith("data:") or (built_site / load).is_file(), f"{name}: {load}"
    assert "http" not in (built_site / "site.css").read_text("utf-8")
    script = (built_site / "site.js").read_text("utf-8").partition("\n")[2]
    assert not re.search(r"fetch|import|http", script)


def test_the_search_finds_headings_by_their_address(
    built_site: Path, pages: dict[str, Page]
) -> None:
    text = (built_site / "index.js").read_text("utf-8")
    rows = json.loads(text.removeprefix("const INDEX = ").rstrip(";\n"))
    matches = {heading: address for address, _, heading, words in rows if "ponte doctor" in words}
    assert "Setup in ten steps" in matches
    for address, title, heading, _ in rows:
        page, _, anchor = address.partition("#")
        assert anchor in pages[page].ids, (title, heading)


def test_headings_have_githubs_anchors() -> None:
    names: set[str] = set()
    headings = ("Who's `ponte.toml` for?", "Setup in ten steps", "Limits", "Limits")
    assert [slug(one, names) for one in headings] == [
        "whos-pontetoml-for",
        "setup-in-ten-steps",
        "limits",
        "limits-1",
    ]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    contents = "# All\n\n## Run\n\n- [One](one.md)\n- [Changes](../CHANGELOG.md)\n"
    (tmp_path / "docs" / "README.md").write_text(contents)
    (tmp_path / "docs" / "one.md").write_text("# One\n\n## Two\n\n<script>alert(1)</script>\n")
    (tmp_path / "README.md").write_text("# It\n\n[two](docs/one.md#two), [all](docs/README.md)\n")
    (tmp_path / "CHANGELOG.md").write_text("# Changes\n")
    return tmp_path


def test_a_whole_one_is_made_without_scripts_of_its_text(repository: Path, tmp_path: Path) -> None:
    assert build(tmp_path / "out", repository) == 4
    text = (tmp_path / "out" / "one.html").read_text("utf-8")
    assert "alert" not in text
    assert '<a href="one.html" aria-current="page">One</a>' in text
    assert 'href="one.html#two"' in (tmp_path / "out" / "index.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("[x](docs/none.md)", "README.md: there is no file docs/none.md"),
        ("[x](docs/one.md#three)", "README.md: docs/one.md has no heading #three"),
        ("[x](#nowhere)", "README.md: README.md has no heading #nowhere"),
        ("![x](docs/none.png)", "README.md: there is no file docs/none.png"),
        ('<img src="none.png">', "README.md: there is no file none.png"),
        ("[x](../../etc/hosts)", "README.md: there is no file ../../etc/hosts"),
        ("[x](docs)", "README.md: there is no file docs"),
    ],
)
def test_what_leads_nowhere_is_told_and_nothing_is_made(
    repository: Path, wrong: str, told: str
) -> None:
    (repository / "README.md").write_text(f"# It\n\n{wrong}\n")
    with pytest.raises(Broken) as error:
        build(repository / "out", repository)
    assert str(error.value) == told
    assert not (repository / "out").exists()


def test_a_document_without_a_line_in_the_contents_is_told(repository: Path) -> None:
    (repository / "docs" / "three.md").write_text("# Three\n")
    with pytest.raises(Broken, match=r"docs/README\.md: has no line for docs/three\.md"):
        Site(repository).pages()
