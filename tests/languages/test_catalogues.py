"""The catalogues have every sentence of the code, and each translation says the same thing."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message

from adapters.discord import interactions as commands
from adapters.slack.setup import manifest
from core.base.i18n import LANGUAGE, LOCALES, _Catalogue, catalogue, say
from core.commands.grammar import TRANSLATED, parse_command
from tests.languages.sentences import LANGUAGES, Key, is_translated, read, sentences
from tests.languages.strict import report_untranslated

TERMS = {
    "pt_BR": {
        "admin": "admin",
        "approve": "aprov",
        "approver": "aprovador",
        "channel": "cana[li]",
        "conversation": "conversa",
        "field": "campo",
        "file": "arquivo",
        "guest": "convidad",
        "limit": "limite",
        "permission": "permiss",
        "person who runs ponte": "responsável pelo Ponte",
        "quick command": "comando",
        "row": "linha",
        "save": "salv",
        "scope": "escopo",
        "table": "tabela",
        "thread": "conversa|thread",
        "undo": "desfa|desfe|desfi",
        "workspace": "workspace",
    },
    "fr": {
        "admin": "admin",
        "approve": "approuv|approbation",
        "approver": "approbateur",
        "channel": "cana[lu]",
        "conversation": "conversation",
        "field": "champ",
        "file": "fichier",
        "guest": "invité",
        "limit": "limite",
        "permission": "autoris",
        "person who runs ponte": "responsable de Ponte",
        "quick command": "commande",
        "row": "ligne",
        "save": "enregistr",
        "scope": "portée",
        "table": "table",
        "thread": "fil",
        "undo": "annul",
        "workspace": "espaces? de travail",
    },
}
"""One word for one thing: where the English says it, the translation has the term's stem."""
ENGLISH = re.compile(r"\b(the|this|that|cannot|your|please|was|were|with|not|is)\b", re.IGNORECASE)


@pytest.fixture(scope="module", params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def read_catalogue(language: str) -> Catalog:
    return read(language)


def ids(catalog: Catalog) -> dict[Key, Message]:
    return {
        message.id if isinstance(message.id, str) else (message.id[0], message.id[1]): message
        for message in catalog
        if message.id
    }


def pairs(catalog: Catalog) -> list[tuple[str, str]]:
    """(English, translation), each of a plural's forms by itself."""
    return [
        pair
        for id, message in ids(catalog).items()
        for pair in (
            zip(id, message.string or (), strict=True)
            if isinstance(id, tuple)
            else [(id, str(message.string))]
        )
        if is_translated(message)
    ]


def test_every_sentence_stands_in_each_catalogue_and_no_other() -> None:
    """`make languages` adds and drops what is told here. One test for all: reading the code takes
    seconds."""
    values = set(sentences())
    for name in LANGUAGES:
        there = set(ids(read(name)))
        for problem, texts in (("missing", values - there), ("needless", there - values)):
            assert not report_untranslated(texts, f"{problem} in {name} (make languages)")


def test_every_sentence_is_translated(read_catalogue: Catalog, language: str) -> None:
    texts = [id for id, message in ids(read_catalogue).items() if not is_translated(message)]
    assert not report_untranslated(texts, f"to translate into {language}")


def test_the_same_values_are_filled_in(read_catalogue: Catalog) -> None:
    def fields(text: str) -> set[tuple[str, str, str]]:
        return {
            (name, form or "", conversion or "")
            for _, name, form, conversion in string.Formatter().parse(text)
            if name is not None
        }

    loose = {"count"}  # a plural may say "one" without it
    assert [
        (english, texts)
        for english, texts in pairs(read_catalogue)
        if "{" in english
        and {f for f in fields(english) if f[0] not in loose}
        != {f for f in fields(texts) if f[0] not in loose}
        and "{json}" not in english
    ] == []


def test_names_of_settings_and_code_stay(read_catalogue: Catalog) -> None:
    def names(text: str) -> set[str]:
        return set(re.findall(r"\b[A-Z][A-Z0-9]*_[A-Z_0-9]+\b|/slack/events|`ponte [a-z]+", text))

    assert [pair for pair in pairs(read_catalogue) if names(pair[0]) != names(pair[1])] == []


def test_each_term_is_translated_by_one_word(read_catalogue: Catalog, language: str) -> None:
    wrong = [
        (term, english, text)
        for english, text in pairs(read_catalogue)
        for term, stem in TERMS[language].items()
        if re.search(
            rf"(?<!-)\b{term}s?\b(?![-_`/.])", re.sub(r"\{[^}]*\}", "", english), re.IGNORECASE
        )
        and not re.search(stem, text, re.IGNORECASE)
        and "`" not in english
    ]
    assert wrong == []


def test_nothing_is_left_in_english(read_catalogue: Catalog) -> None:
    def plain(text: str) -> str:
        return re.sub(r"`[^`]*`|\{[^}]*\}|\*[^*]*→[^*]*\*", "", text)

    assert [
        pair
        for pair in pairs(read_catalogue)
        if len(set(map(str.lower, ENGLISH.findall(plain(pair[1]))))) > 1
    ] == []


def test_french_spaces_stand_before_its_high_marks() -> None:
    """No line may begin with them: a space that does not break, the narrow one but for a colon."""
    plain = [re.sub(r"`[^`]*`|https?://\S+", "", text) for _, text in pairs(read("fr"))]
    assert [one for one in plain if re.search(r"[^\u202f(][;?!](\s|$)| [:;?!»]|« ", one)] == []
    assert [one for one in plain if re.search(r"\w'\w", one)] == [], "the apostrophe is ’"


@pytest.mark.parametrize("locale", TRANSLATED)
def test_ponte_reads_the_file_as_babel_does(locale: str) -> None:
    ours, theirs = catalogue(locale), read(locale.replace("-", "_"))
    assert (theirs.plural_expr, theirs.num_plurals) == ("(n > 1)", 2)
    for id, message in ids(theirs).items():
        if isinstance(id, str):
            assert ours.gettext(id) == (message.string if is_translated(message) else id)
        else:
            texts = message.string if is_translated(message) else id
            assert [ours.ngettext(*id, n) for n in (1, 2)] == list(texts or ())


def test_a_sentence_without_a_translation_stays_english(tmp_path: Path) -> None:
    path = tmp_path / "ponte.po"
    path.write_text(
        'msgid "New text."\nmsgstr ""\n\n'
        'msgid "{count} row"\nmsgid_plural "{count} rows"\nmsgstr[0] ""\nmsgstr[1] ""\n\n'
        '#: core/turn/manager.py\n#, fuzzy, python-brace-format\n#| msgid "Old {name}."\n'
        'msgid "New {name}."\nmsgstr "Ancien {name}."\n\nmsgid "Last."\nmsgstr "Dernier."\n'
    )
    untranslated = _Catalogue(path)
    assert untranslated.gettext("New text.") == "New text."
    assert untranslated.gettext("New {name}.") == "New {name}."
    assert untranslated.gettext("Last.") == "Dernier."
    assert [untranslated.ngettext("{count} row", "{count} rows", n) for n in (1, 2)] == [
        "{count} row",
        "{count} rows",
    ]


def test_a_missing_translation_is_a_warning_and_fails_in_ci(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.warns(UserWarning, match="Untranslated: to translate into fr: 'New text.'"):
        assert report_untranslated(["New text."], "to translate into fr") == ""
    assert report_untranslated([], "to translate into fr") == ""
    monkeypatch.setenv("CI", "true")
    assert "New text." in report_untranslated(["New text."], "to translate into fr")


@pytest.mark.parametrize("locale", LOCALES)
def test_plurals_follow_the_language(locale: str) -> None:
    texts = [
        catalogue(locale).ngettext("{count} message", "{count} messages", n) for n in (0, 1, 2)
    ]
    assert texts[1] != texts[2]
    assert (texts[0] == texts[1]) is (locale != "en"), "0 is plural in English alone"


@pytest.mark.parametrize("locale", TRANSLATED)
def test_its_commands_stand_in_help_and_mean_something(locale: str) -> None:
    english = next(id for id in ids(read("fr")) if "You can also type one of these" in str(id))
    text = catalogue(locale).gettext(str(english))
    for word in re.findall(r"`([^`]+)`", text):
        typed_text = word.replace("ID", "abc234").replace("SLUG …", "explain")
        assert parse_command(typed_text) is not None, word


@pytest.mark.parametrize("locale", LOCALES)
def test_what_platforms_cap_fits_in_each_language(locale: str) -> None:
    """Discord: a command's description has 100 characters, a form's title 45 (docs: application
    commands, modals); Slack: a modal's title, its buttons and a shortcut's name 24, an app's
    description 140 (docs.slack.dev: views, manifests)."""
    descriptions = [
        commands.ASK_DESCRIPTION,
        commands.PROMPT_DESCRIPTION,
        commands.FILE_DESCRIPTION,
        commands.PRIVATE_DESCRIPTION,
        commands.QUICK_DESCRIPTION,
        commands.SLUG_DESCRIPTION,
        commands.INPUT_DESCRIPTION,
        commands.SHOW_DESCRIPTION,
        commands.NAME_DESCRIPTION,
        commands.UNDO_DESCRIPTION,
        commands.CHANGE_DESCRIPTION,
        *commands.WORD_DESCRIPTIONS.values(),
    ]
    LANGUAGE.set(locale)
    assert [text for text in descriptions if len(say(text)) > 100] == []
    short = ("Ask Ponte", "Ask", "Quick command", "Run", "Cancel")
    assert [text for text in short if len(say(text)) > 24] == []
    assert len(say("Ask about this message")) <= 45
    result = manifest()
    assert len(result["display_information"]["description"]) <= 140
    assert [
        len(one["name"]) for one in result["features"]["shortcuts"] if len(one["name"]) > 24
    ] == []
