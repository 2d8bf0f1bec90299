"""`make site`: README, CHANGELOG and docs/ as static pages in dist/site, without the network.

Pages link each other as the files do; a link, picture or anchor that leads nowhere ends the making
with one line for each. What stands beside the documents (`compose.yaml`) comes along as a file. The
headings of docs/README.md are those of the navigation, in which every document has its line.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
LOOK = Path(__file__).parent / "look"
HOME, CONTENTS = "README.md", "docs/README.md"
DOUBLES = "tests/fakes/README.md"
"""It lies beside the code that it explains, and is a page like those of docs/."""
PICTURES = {".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp"}
_ELSEWHERE = re.compile(r"(https?|mailto):", re.IGNORECASE)
_ATTRIBUTES = {
    "a": {"href", "title"}, "code": {"class"}, "details": {"open"}, "ol": {"start"},
    "img": {"src", "alt", "title", "width", "height", "align"}, "source": {"srcset", "media"},
    "p": {"align"}, "div": {"align"}, **{f"h{level}": {"id"} for level in range(1, 7)},
}  # fmt: skip
_TAGS = {
    "blockquote", "br", "dd", "del", "details", "dl", "dt", "em", "hr", "kbd", "li", "picture",
    "pre", "strong", "sub", "summary", "sup", "table", "tbody", "td", "th", "thead", "tr", "ul",
    *_ATTRIBUTES,
}  # fmt: skip


class Broken(Exception):
    """One line for each thing that is wrong."""


@dataclass(slots=True)
class Document:
    """A Markdown file: `path` as the repository has it, `page` as the site does."""

    path: str
    page: str
    tokens: Sequence[Token]
    title: str = ""
    anchors: set[str] = field(default_factory=set)
    sections: list[tuple[str, str, str]] = field(default_factory=list)
    """(anchor, heading, text) of each part, for the search."""


def parser() -> MarkdownIt:
    """As the documents are read everywhere here: CommonMark with tables."""
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def document_paths(root: Path = ROOT) -> dict[str, Path]:
    """All documents, by their path in the repository."""
    documents = [*sorted((root / "docs").rglob("*.md")), *root.glob(DOUBLES)]
    paths = [*sorted(root.glob("*.md")), *documents]
    return {path.relative_to(root).as_posix(): path for path in paths}


def documents(root: Path = ROOT) -> dict[str, Document]:
    """All documents, read, by their path in the repository."""
    table = {}
    for name, path in document_paths(root).items():
        flat = name.removeprefix("docs/").removesuffix(".md").replace("/", "-")
        page = {HOME: "index.html", CONTENTS: "contents.html"}.get(name, f"{flat}.html")
        table[name] = _read(name, page.lower(), path.read_text("utf-8"))
    return table


def _read(path: str, page: str, text: str) -> Document:
    document = Document(path, page, parser().parse(text))
    heading, anchor, words = "", "", list[str]()
    for token, after in zip(document.tokens, [*document.tokens[1:], None], strict=True):
        if token.type == "heading_open" and after is not None:
            if heading:
                document.sections.append((anchor, heading, " ".join(words)))
            heading, words = _plain(after), []
            anchor = slug(heading, document.anchors)
            token.attrSet("id", anchor)
            document.title = document.title or heading
        elif token.type == "inline":
            words.append(_plain(token))
        elif token.type == "fence":
            words.append(token.content)
    document.sections.append((anchor, heading, " ".join(words[:1] if not heading else words)))
    return document


def _plain(inline: Token) -> str:
    parts = ("text", "code_inline", "softbreak")
    return "".join(one.content or " " for one in inline.children or () if one.type in parts)


def slug(heading: str, taken: set[str]) -> str:
    """A heading's anchor, as GitHub makes it; noted in `taken`."""
    base = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
    anchor, count = base, 0
    while anchor in taken:
        count += 1
        anchor = f"{base}-{count}"
    taken.add(anchor)
    return anchor


class Site:
    """The pages of the documents under `root`; `files` are what they show beside, by its place on
    the site; `broken` what leads nowhere."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self.documents = documents(root)
        self.files: dict[str, Path] = {}
        self.broken: list[str] = []

    def pages(self) -> Mapping[str, str]:
        """Each page's HTML by name. Raises Broken."""
        groups = [*self._groups()]
        bodies = {one.page: (one, self._body(one)) for one in self.documents.values()}
        listings = {page for _, entries in groups for page, _ in entries}
        for one in self.documents.values():
            if one.page not in listings and one.path not in (HOME, CONTENTS):
                self.broken.append(f"{CONTENTS}: has no line for {one.path}")
        if self.broken:
            raise Broken("\n".join(sorted(set(self.broken))))
        frame = (LOOK / "page.html").read_text("utf-8")
        definition = {}
        for page, (one, body) in bodies.items():
            values = {"title": html.escape(one.title), "nav": _nav(groups, page), "body": body}
            definition[page] = re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], frame)  # noqa: B023
        return definition

    def index(self) -> str:
        """What the search looks in, as a script: a page opened as a file may fetch nothing."""
        rows = [
            [f"{one.page}#{anchor}", one.title, heading, " ".join(text.split())]
            for one in self.documents.values()
            for anchor, heading, text in one.sections
        ]
        return f"const INDEX = {json.dumps(rows, ensure_ascii=False)};\n"

    def _groups(self) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        """Heading of docs/README.md → the pages under it."""
        yield "", [("index.html", "Ponte"), ("contents.html", "All documents")]
        heading, entries = "", list[tuple[str, str]]()
        tokens = self.documents[CONTENTS].tokens if CONTENTS in self.documents else ()
        for token, after in zip(tokens, [*tokens[1:], None], strict=True):
            if token.type == "heading_open" and after is not None:
                if entries:
                    yield heading, entries
                heading, entries = _plain(after), []
            for each in token.children or ():
                target = self._target(CONTENTS, str(each.attrs.get("href", "")).partition("#")[0])
                if each.type == "link_open" and target in self.documents:
                    one = self.documents[target]
                    if (one.page, one.title) not in entries and one.path != HOME:
                        entries.append((one.page, one.title))
        if entries:
            yield heading, entries

    def _body(self, one: Document) -> str:
        raw = parser().renderer.render(list(one.tokens), parser().options, {})
        return nh3.clean(
            raw,
            tags=_TAGS,
            attributes=_ATTRIBUTES,
            link_rel=None,
            attribute_filter=lambda tag, name, value: (
                self._link(one, value) if name in ("href", "src", "srcset") else value
            ),
        )

    def _link(self, one: Document, href: str) -> str:
        """Where a link of that document leads on the site."""
        if _ELSEWHERE.match(href):
            return href
        path, _, anchor = href.partition("#")
        target = self._target(one.path, path)
        if (there := self.documents.get(target)) is not None:
            if anchor and anchor not in there.anchors:
                self.broken.append(f"{one.path}: {target} has no heading #{anchor}")
            return (there.page if path else "") + (f"#{anchor}" if anchor else "")
        file = self._root / target
        if not target or not file.is_file():
            self.broken.append(f"{one.path}: there is no file {href}")
            return ""
        plain = "" if file.suffix in PICTURES else ".txt"
        place = f"files/{target.replace('/', '-').lstrip('.')}{plain}"
        self.files[place] = file
        return place

    def _target(self, path: str, href: str) -> str:
        """A relative address as a path of the repository; "" where it leads out of it."""
        whole = (self._root / path).parent / unquote(href) if href else self._root / path
        whole = whole.resolve()
        root = self._root.resolve()
        return whole.relative_to(root).as_posix() if whole.is_relative_to(root) else ""


def _nav(groups: Sequence[tuple[str, list[tuple[str, str]]]], here: str) -> str:
    lines = []
    for heading, entries in groups:
        lines += [f"<h2>{html.escape(heading)}</h2>"] if heading else []
        lines.append("<ul>")
        for page, title in entries:
            current = ' aria-current="page"' if page == here else ""
            lines.append(f'<li><a href="{page}"{current}>{html.escape(title)}</a></li>')
        lines.append("</ul>")
    return "\n".join(lines)


def build(out: Path, root: Path = ROOT) -> int:
    """Write all of it; returns the number of pages. Raises Broken before `out` is touched."""
    site = Site(root)
    pages = site.pages()
    shutil.rmtree(out, ignore_errors=True)
    (out / "files").mkdir(parents=True)
    for name, text in {**pages, "index.js": site.index()}.items():
        (out / name).write_text(text, encoding="utf-8")
    for name in ("site.css", "site.js"):
        shutil.copyfile(LOOK / name, out / name)
    for place, file in site.files.items():
        shutil.copyfile(file, out / place)
    return len(pages)


def main() -> int:
    out = ROOT / "dist" / "site"
    try:
        count = build(out)
    except Broken as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{count} pages: {out / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
