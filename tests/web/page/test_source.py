"""What the page is made of: its size, its words, nothing inline."""

from __future__ import annotations

import gzip
import json
import math
import re

from adapters.web import http_io
from adapters.web.page.routes import PAGE_FOLDER, PAGE_MEDIA_TYPES, PAGE_SENTENCES

LATER_FILES = {
    "math.js", "math.css", "temml.min.js", "tokens.js", "naming.js", "options.js",
    "highlight.js", "code.js", "queue.js", "details.js", "details.css", "change.js", "change.css",
    "admin.html", "admin.css", "admin.js", "print.css", "data.css", "quick.js", "plain.html",
    "requests.js", "worker.js", "shortcuts.js", "menu.js", "person.js", "dialogs.js",
    "dialogs.css", "sign-in.js", "sign-in.css", "record.js", "record.css",
    "feedback.js", "saved.js", "deciding.js",
}  # fmt: skip
"""Files that the first view does not need: for formulas, for code, for messages that wait, for
tables and charts, for menus and dialogs, for a search, for an answer's cost, for changing and
deciding a proposal, for recordings, for the operator's page, for printing, for notifications."""


def own_scripts() -> str:
    paths = [path for path in PAGE_FOLDER.glob("*.js") if path.name != "temml.min.js"]
    return "".join(path.read_text("utf-8") for path in paths)


def test_the_page_weighs_at_most_86_kilobytes_compressed() -> None:
    """Without the library of formulas, which comes with the first formula."""
    sizes = {
        path.name: len(gzip.compress(path.read_bytes()))
        for path in PAGE_FOLDER.iterdir()
        if path.suffix in PAGE_MEDIA_TYPES and path.name != "temml.min.js"
    }
    assert sum(sizes.values()) <= 86_000
    assert sum(size for name, size in sizes.items() if name not in LATER_FILES) <= 45_000


def test_the_page_has_no_inline_script_or_style() -> None:
    html = (PAGE_FOLDER / "index.html").read_text("utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=|https?://", html)
    scripts = own_scripts()
    assert "eval(" not in scripts
    assert scripts.count("innerHTML") == 1


def test_every_word_of_the_page_is_in_the_catalogue() -> None:
    html = (PAGE_FOLDER / "index.html").read_text("utf-8")
    scripts = own_scripts()
    values = set(re.findall(r'data-say(?:-label|-hint)?="(\w+)"', html))
    message = set(re.findall(r'\bsay\("(\w+)"', scripts))
    assert values | message <= PAGE_SENTENCES.keys()
    for key, text in re.findall(r'data-say="(\w+)"[^>]*>([^<]+)<', html):
        assert text == PAGE_SENTENCES[key]
    for key, text in re.findall(r'data-say-label="(\w+)"[^>]*aria-label="([^"]+)"', html):
        assert text == PAGE_SENTENCES[key]


def bytes_of(product: str) -> int:
    return math.prod(map(int, product.split(" * ")))


def test_the_page_and_the_server_have_the_same_limits() -> None:
    script = (PAGE_FOLDER / "composer.js").read_text("utf-8")
    limits = dict(re.findall(r"^const (\w+) = (\d[\d *]*);", script, re.MULTILINE))
    assert bytes_of(limits["MAX_FILE_BYTES"]) == http_io.MAX_FILE_BYTES
    assert bytes_of(limits["MAX_UPLOAD_BYTES"]) == (
        http_io.MAX_FORM_BODY_BYTES - http_io.MAX_TEXT_BYTES
    )
    assert int(limits["MAX_FILES"]) == http_io.MAX_FILES


def test_each_sentence_has_a_key_of_its_own() -> None:
    pairs = json.loads((PAGE_FOLDER / "sentences.json").read_text("utf-8"), object_pairs_hook=list)
    keys = [key for key, _ in pairs]
    assert sorted(keys) == sorted({*keys})
