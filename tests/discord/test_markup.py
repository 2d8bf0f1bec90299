"""The model's Markdown as Discord shows it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.discord.render import (
    LIMIT,
    MAX_POSTS_OF_ANSWER,
    PHONE_LINE_CHARACTERS,
    count_columns,
    paginate,
    read_table,
    to_discord,
)

MENTIONS = re.compile(r"@everyone|@here|<@[!&]?\d+>|<#\d+>")


def render_text(markdown: str) -> str:
    return to_discord(markdown).text


def test_what_discord_knows_stays() -> None:
    text = "# Big\n**bold** *it* ~~no~~ `code`\n- one\n- two\n> quote"
    assert render_text(text) == text


def test_small_headings_become_bold_and_rules_disappear() -> None:
    assert render_text("#### Small ####\n---\nafter") == "**Small**\n\nafter"


def test_links_say_where_they_lead_and_show_no_preview() -> None:
    assert (
        render_text("see [the docs](https://a.example/x)") == "see the docs (<https://a.example/x>)"
    )
    assert render_text("![plot](https://a.example/p.png)") == "plot (<https://a.example/p.png>)"
    assert render_text("https://a.example/x.") == "<https://a.example/x>."
    assert render_text("<https://a.example>") == "<https://a.example>"
    assert render_text("[https://a.example](https://a.example)") == "<https://a.example>"


def test_mentions_and_commands_are_inert_outside_code() -> None:
    assert "<@1" not in render_text("<@123456789012345678> </approve:123>")
    assert "</approve" not in render_text("</approve:123>")
    assert render_text("`@everyone`") == "`@everyone`"
    assert render_text("```\n@everyone <@1>\n```") == "```\n@everyone <@1>\n```"


def test_code_that_is_left_open_ends_with_its_quote_or_text() -> None:
    text = "> ```\n> @everyone https://evil.example ||x||\n\n> ````py\n> ```\nout ||y||\n~~~\n@here"
    assert render_text(text) == (
        "```\n@everyone https://evil.example ||x||\n```\n\n"
        "```py\n`\u200b``\n```\nout \\||y\\||\n```\n@here\n```"
    )


HIDDEN = "@everyone ||x|| https://evil.example"


@pytest.mark.parametrize("most", [2, 20])
@pytest.mark.parametrize(
    "said",
    [
        "\n".join(["> ```", *[f"> {HIDDEN} {'y' * 30}"] * 60, "> ```", "out"]),
        "\n".join(["> ```", *[f"> {HIDDEN} {'y' * 2_500}"] * 5, "> ```", "out"]),
        f"> - a\n>   ```\n> {'y' * 4_500}\n> {HIDDEN}\n>   ```",
        f"> ~~~\n> {'y ' * 2_500}\n> {HIDDEN}\n> ~~~",
        f"> {'w ' * 900}\n> ```\n>\n> {'x' * 2_600}\n> {HIDDEN}\n> ```",
        "\n".join(["`" * 17, "> ```", *[f"> {HIDDEN}"] * 90, "> ```"]),
        "\n".join(["~" * 20, "> ```", *[f"> {HIDDEN}"] * 90, "> ```"]),
        f"> ```\n{'> ' + 'q' * 98}\n" * 20 + "> ```",
    ],
)
def test_code_in_a_quote_is_code_in_each_of_its_posts(said: str, most: int) -> None:
    for part in paginate(said, most).parts:
        assert part.strip()
        assert len(part) <= LIMIT
        outside, *blocks = re.split(r"^ *```", part, flags=re.MULTILINE)
        assert len(blocks) % 2 == 0, part
        assert not MENTIONS.search(outside + "".join(blocks[1::2])), part


@pytest.mark.parametrize(
    "said",
    [
        f"Run `{'y ' * 1_500}@here ||x||` now @here", f"> `{'y' * 2_600}{HIDDEN}`",
        f"- a `{'y ' * 400}{HIDDEN} {'z ' * 700}` b. {'w ' * 300}",
        f"|a|b|c|d|\n|-|-|-|-|\n|`{'y ' * 1_200}{HIDDEN}`|2|3|4|",
        f"{'w ' * 600}`x. y {HIDDEN} {'z ' * 200}` {'v ' * 900}",
    ],
)  # fmt: skip
def test_inline_code_is_code_in_each_of_its_posts(said: str) -> None:
    for part in paginate(said).parts:
        blocks = re.split(r"^```", part, flags=re.MULTILINE)
        assert len(blocks) % 2, part
        assert not MENTIONS.search(re.sub("`[^`]*`", "", "".join(blocks[::2]))), part


@pytest.mark.parametrize("mark", ["@here", "||x||", "*a*", "_"])
def test_an_escape_is_not_cut_between_two_posts(mark: str) -> None:
    text = re.sub(r"([|*_])", r"\\\1", mark)
    for shift in range(12):
        parts = paginate("x" * shift + text * (5_000 // len(text))).parts
        assert len(parts) > 1
        assert not [part for part in parts if re.search(r"(?<!\\)(\\\\)*\\$", part)]
        assert not MENTIONS.search("".join(parts))


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        # Discord would pair these backticks with those of the code.
        ("Wrap it in ``` and see `@here`.", r"Wrap it in \`\`\` and see `@here`."),
        ("`a\nb` https://a.example `c`", "`a b` <https://a.example> `c`"),
        ("1. x `a\n   @here` @here", "1. x `a @here` @\u200bhere"),
        ("> `a\n> b` c", "> `a b` c"),
        ("`a\n\nb` c", "\\`a\n\nb\\` c"),
        ("- > ```\n  > @here ||x||\n  > ```\n- b", "-\n```\n@here ||x||\n```\n- b"),
        ("1. > a\n   > `b`", "1.\n> a\n> `b`"),
        (r"\`https://a.example` x", r"\`<https://a.example>\` x"),
        (r"a\``b` c", r"a\``b` c"),
        ("```\n```\n\n```\n@here\n```", "```\n\u200b\n```\n\n```\n@here\n```"),
        ("```sh", "```sh\n\u200b\n```"),
        ("1. ```sh\n   ls\n   ```\n2. end", "1.\n   ```sh\n   ls\n   ```\n2. end"),
        ("> a<br>b", "> a\n> b"),
        ("xhttps://a.example", "x<https://a.example>"),
        (r"\<https://a.example/b>", r"\<<https://a.example/b>>"),
        ("[x](<https://a.example/a b>)", "[x](<<https://a.example/a> b>)"),
        (f"https://a.example/{'a' * 1000}", f"https:\u200b//a.example/{'a' * 1000}"),
    ],
)
def test_discord_reads_as_code_and_as_address_what_is_meant(said: str, shown: str) -> None:
    assert render_text(said) == shown


def test_what_discord_reads_differently_is_shown_as_markdown_means_it() -> None:
    assert (
        render_text("__bold__, x__y__z, __a b__ `__it__`") == "**bold**, x__y__z, **a b** `__it__`"
    )
    assert render_text("https://a.example/__x__/y") == "<https://a.example/__x__/y>"
    assert render_text("try\n>>> print(1)\nthen") == "try\n\\>>> print(1)\nthen"
    assert render_text("Total\n=====\nSub\n---\nx") == "# Total\n## Sub\nx"
    code = "Run:\n\n    a || b\n    def f(*x, **y): __z__\n\nend"
    assert render_text(code) == "Run:\n\n```\na || b\ndef f(*x, **y): __z__\n```\n\nend"


def test_code_and_tables_stand_beside_their_quote() -> None:
    text = "> ```sh\n> npm i @here/x || y\n> ```\n>after\n>\n> -# x\nout"
    quotation = "```sh\nnpm i @here/x || y\n```\n> after\n> \n> \\-# x\nout"
    assert render_text(text) == quotation
    table = "> | a | b |\n> |---|---|\n> | 1 | 2 |"
    assert render_text(table) == "```\na  b\n─  ─\n1  2\n```"


def test_addresses_stay_whole() -> None:
    package = "https://www.npmjs.com/package/{}here/maps-api"
    assert render_text(package.format("@")) == f"<{package.format('%40')}>"
    assert render_text("https://a.example/?q=a||b") == "<https://a.example/?q=a||b>"


def test_task_lists_become_boxes() -> None:
    assert render_text("1. [ ] buy\n2) [x] done") == "1. ☐ buy\n2) ☑ done"
    assert render_text("- [ ] buy\n- [x] done") == "- ☐ buy\n- ☑ done"


def test_a_narrow_table_is_a_code_block_with_aligned_columns() -> None:
    table = "| Name | Qty |\n|:---|---:|\n| **Bolt** | 12 |\n| 日本 | 3 |"
    assert render_text(table) == "```\nName  Qty\n────  ───\nBolt   12\n日本    3\n```"


def test_columns_stand_as_the_table_says() -> None:
    table = (
        "| Name | Sum | No. |\n| :--- | ---: | :--- |\n| A | R$ 12,00 | 5 |\n| B | R$ 3,50 | 123 |"
    )
    assert render_text(table).split("\n")[1:] == [
        "Name       Sum  No.",
        "────  ────────  ───",
        "A     R$ 12,00  5",
        "B      R$ 3,50  123",
        "```",
    ]


def test_a_table_of_more_columns_is_a_list_or_a_paragraph_a_row() -> None:
    table = "a|b|c|d\n-|-|-|-\n1|2|3|4\n5|6||8"
    assert render_text(table) == "a · b · c · d\n- **1** · 2 · 3 · 4\n- **5** · 6 · – · 8"
    long = "x" * 100
    assert render_text(f"{table}{long}") == (
        f"**a: 1**\nb: 2\nc: 3\nd: 4\n\n**a: 5**\nb: 6\nd: 8{long}"
    )


def test_a_cell_cannot_close_the_code_block() -> None:
    block = render_text("| a | b |\n|---|---|\n| ``` @everyone | x |")
    assert block.count("```") == 2


def test_a_long_table_is_a_file_with_its_first_rows_shown() -> None:
    rows = "\n".join(f"| {n} | x |" for n in range(50))
    rendering = to_discord(f"| n | x |\n|---|---|\n{rows}\n\nand more")
    assert "…35 more rows are in `table-1.csv`." in rendering.text
    assert rendering.text.endswith("and more")
    assert rendering.sheets[0].data.decode("utf-8-sig").count("\r\n") == 51


def test_a_spreadsheet_runs_nothing_of_a_table() -> None:
    table = read_table(["|a|b|", "|-|-|", "|=1+1|@x|", "|-5|+3.5|"])
    assert table is not None
    assert table.csv().decode("utf-8-sig") == "a,b\r\n'=1+1,'@x\r\n-5,+3.5\r\n"


def test_a_table_inside_a_code_block_stays() -> None:
    text = "```\n| a | b |\n|---|---|\n| 1 | 2 |\n```"
    assert render_text(text) == text


def test_an_answer_that_does_not_fit_ends_in_a_file() -> None:
    markdown = "\n\n".join("x" * 1500 for _ in range(9))
    result = paginate(markdown)
    assert len(result.parts) == MAX_POSTS_OF_ANSWER
    assert result.parts[-1].endswith("*The full answer is in `answer.md`.*")
    assert result.sheets[-1].data.decode() == markdown


def test_nothing_is_one_empty_part() -> None:
    assert paginate("").parts == ("",)


@given(st.text(alphabet="ab @<>!&#|-`*_[]()\n123456789:/.hps", max_size=400))
def test_no_text_mentions_anybody(markdown: str) -> None:
    outside = re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "", render_text(markdown + " @everyone"))
    if "`" not in markdown and "~" not in markdown:
        assert not MENTIONS.search(outside)


@given(st.text(max_size=9000), st.integers(1, MAX_POSTS_OF_ANSWER))
def test_each_page_fits_into_a_message(markdown: str, most: int) -> None:
    result = paginate(markdown, most)
    assert 1 <= len(result.parts) <= most
    assert all(len(part) <= LIMIT for part in result.parts)


@given(st.lists(st.lists(st.text("abc|\\ é日", max_size=9), min_size=2, max_size=3), min_size=1))
def test_rows_of_a_code_block_stand_in_one_column(rows: list[list[str]]) -> None:
    lines = ["| x | y |", "|---|---|", *("|" + "|".join(row) + "|" for row in rows)]
    table = read_table(lines)
    assert table is not None
    if table.is_narrow:
        block = table.code_block().split("\n")[1:-1]
        assert all(count_columns(line) <= PHONE_LINE_CHARACTERS for line in block)


def test_a_tables_cell_fetches_no_preview() -> None:
    cells = "| https://x.example/q | [t](https://y.example) | 2 | 3 |"
    wide = f"| a | b | c | d |\n|---|---|---|---|\n{cells}"
    assert "- **<https://x.example/q>** · t <https://y.example>" in to_discord(wide).text
