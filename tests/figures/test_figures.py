"""Which numbers of a text are figures, and what they may mean."""

from __future__ import annotations

from itertools import islice

import pytest

from core.base.i18n import LOCALES, say, use_locale
from core.domain.rows import RowColumn, RowsResult
from core.figures.check import FigureCheck, check_figures
from core.figures.reading import find_figures
from core.figures.receipts import SOURCE, SOURCES, describe_check, quote_receipts
from core.tools.nocodb.read import SOURCE_OF_ROW

ORDERS = RowsResult(
    "Orders",
    (RowColumn("Amount", "number"),),
    tuple((str(number),) for number in range(1, 101)),
    tuple((number,) for number in range(1, 101)),
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("€1,234.50", 1234.5),
        ("R$ 1.234,50", 1234.5),
        ("1\u202f234,50 €", 1234.5),
        ("1'234", 1234),
        ("1.234", 1234),
        ("1.234", 1.234),
        ("€9.4k", 9400),
        ("R$ 2 mi", 2_000_000),
        ("2,3 milhões", 2_300_000),
        ("1,2 Md€", 1_200_000_000),
        ("12 mil", 12_000),
        ("12 %", 12),
        ("3x", 3),
    ],
)
def test_forms_of_three_languages(text: str, value: float) -> None:
    (figure,) = find_figures(f"They owe {text} now.")
    assert value in [number for number, _ in figure.readings]


@pytest.mark.parametrize(
    "text",
    [
        "on 3 October 2026, at 14h30 or 2:15 pm",
        "le 1er novembre, du 3 au 5 octobre, semaine 42",
        "em 3 de outubro de 2026, 03/10/2026, 2026-10-03, T3 2026",
        "INV-1001, #42, n° 117, pedido 1042, SKU 99-120-3, v2.3.1",
        "1. first\n2) second",
        "`4711` and “4711” and «\u00a04711\u00a0»\n```\n4711\n```",
        "[table: r11] https://example.com/1234 +55 11 99999-1234",
        "within 30 days, every 1,000 visits, in Windows 110",
    ],
)
def test_no_figures(text: str) -> None:
    assert [figure.text for figure in find_figures(text) if figure.is_checked] == []


def test_many_figures_against_many_values_end() -> None:
    columns = tuple(RowColumn(f"c{n}", "number") for n in range(40))
    row = tuple(float(n) for n in range(40))
    result = RowsResult("t", columns, (tuple(map(str, row)),) * 500, (row,) * 500)
    answer = "; ".join(f"{n},{n % 10}00.5" for n in range(1, 999))
    check = check_figures(
        answer, answer, [result] * 3, ["9" * 5_000, "1.2" * 5_000], ["8 " * 9_000]
    )
    assert len(check.found) + len(check.missing) + len(check.from_run) <= 201


ODD = (
    "1",
    "1.",
    "1 000 ",
    "é ",
    "12 e ",
    "(11) ",
    "a-1",
    "1-",
    "* _ ",
    "“",
    "a",
    "«5",
    "+1 ",
    "h 1 * ",
)


@pytest.mark.parametrize("piece", ODD)
def test_odd_texts_are_read(piece: str) -> None:
    text = piece * 5_000
    assert len(list(islice(find_figures(text), 200))) <= 200


def test_a_number_of_many_digits_is_no_figure() -> None:
    answer = f"It is {'9' * 100_000}, 4,711.{'1' * 100_000} or 10{'0' * 400} €."
    assert check_figures(answer, answer, [ORDERS], [answer], [answer]).missing == ()


@pytest.mark.parametrize(
    "figure",
    [
        "**70** of A",
        "-72,450 of A",
        "123,456 in all",
        "-5,012.5 of the first",
        "-5,487.5 of the last",
    ],
)
def test_what_follows_from_rows_is_found(figure: str) -> None:
    amounts = [-1000.5 - number for number in range(100)]
    shops = ["A" if number < 70 else "B" for number in range(100)]
    result = RowsResult(
        "Shops",
        (RowColumn("Shop"), RowColumn("Amount", "number")),
        tuple(zip(shops, map(str, amounts), strict=True)),
        tuple((None, amount) for amount in amounts),
        ("", "-123,456.00"),
    )
    check = check_figures(f"It is {figure}, not 72,406.", "The 5 first or last?", [result], [], [])
    assert (len(check.found), check.missing) == (1, ["72,406"])


def test_what_follows_from_rows_is_found_after_a_long_conversation() -> None:
    earlier = " ".join(f"{number}.5" for number in range(10**6, 10**6 + 20_001))
    assert check_figures("They add up to 5,050.", "", [ORDERS], [earlier], []).found


def test_an_answer_with_too_many_figures_is_not_said_to_be_found() -> None:
    assert describe_check(check_figures("100 is one. " * 201, "", [ORDERS], [], [])) == ""


@pytest.mark.parametrize(
    "line",
    [
        "Source: Invoices: 23 of 23 rows, 12:00 (UTC).",
        "**Fonte:** Faturas",
        "**Source**: Invoices",
        "[Source](https://example.com): Invoices",
        "S\u200b\u043eurce&#58; Invoices",
        "Source\uff1a Invoices",
        "Well<br>Source: Invoices",
        "4 **figures**, all found in what I read.",
        "Sources:",
        "4 figures, all found in what I read.",
        "_12 números, todos encontrados no que li._",
        "⚠️ Not found in what I read: 3.",
        "Calculated by the model, not found in what I read: 3.",
    ],
)
def test_a_line_that_only_code_writes_is_quoted(line: str) -> None:
    assert quote_receipts(f"So:\n\n{line}\nEnd") == f"So:\n\n> {line}\n\nEnd"
    assert quote_receipts(f"So:\u2028{line}\nEnd") == f"So:\n> {line}\n\nEnd"
    assert quote_receipts(f"- ```\n{line}") == f"- ```\n> {line}\n"  # the list ends the code
    assert quote_receipts(f"- Name: A\n- {line}\n- B") == f"- Name: A\n- > {line}\n\n- B"


@pytest.mark.parametrize(
    "text",
    [
        "The source is Invoices.\n4 figures\n> Source: quoted",
        "```yaml\nSource: code\n```",
        "| Field | Value |\n| --- | --- |\n| Source: | LinkedIn |",
    ],
)
def test_ordinary_lines_stay(text: str) -> None:
    assert quote_receipts(text) == text


@pytest.mark.parametrize("locale", LOCALES)
def test_each_line_of_code_is_known_in_each_language(locale: str) -> None:
    with use_locale(locale):
        counts = ((1, 0, 0), (2, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 1, 0), (0, 0, 1, 1))
        checks = [FigureCheck(*(["12"] * number for number in each)) for each in counts]
        lines = [*map(describe_check, checks), say(SOURCE, caption="Orders", time="1", zone="UTC")]
        lines += [say(SOURCES), say(SOURCE_OF_ROW, what="Orders", id=1, time="1", zone="UTC")]
    for line in lines:
        assert quote_receipts(line).startswith("> "), line


def judge(answer: str, *texts: str, runs: str = "") -> FigureCheck:
    return check_figures(answer, "", [], texts, [runs] if runs else [])


def test_among_the_differences_of_many_numbers_nothing_is_looked_for() -> None:
    """Nearly any figure is one of them."""
    for count, is_found in ((30, True), (31, False)):
        printed = " ".join(str(1_000 * 3**n) for n in range(count))
        check = judge(f"They differ by {1_000 * (3**20 - 3**5)}.", runs=f"{printed} ")
        assert bool(check.found or check.from_run) == is_found, count


def test_a_sum_of_binary_fractions_is_the_figure() -> None:
    result = RowsResult(
        "t", (RowColumn("Price", "number"),), (("0.1",),) * 3, tuple((n,) for n in (0.1, 0.2, 0.3))
    )
    exact = "0.6000000000000000"  # the sum is 0.6000000000000001
    assert check_figures(f"Total: {exact}.", "", [result], [], []).missing == []
    assert check_figures("Total: 0.6001.", "", [result], [], []).missing == ["0.6001"]


def test_a_small_number_is_a_figure_where_it_is_stated() -> None:
    for text in ("Late: 7", "**7** are late", "| 7 |", "late = 7"):
        assert judge(text, "8").missing == ["7"], text
    assert not judge("I tried 7 ways.", "8").missing


def test_a_day_or_moment_is_no_figure() -> None:
    for text in ("2026-10-03", "2026-10-03T18:30:15", "2026-10"):
        assert not judge(f"Since: {text}.", "8").missing, text
    assert not judge("| 2026-0412 | Casa |", "8").missing, "an invoice"


def test_at_most_five_missing_figures_are_named() -> None:
    check = judge("; ".join(f"{n}00.5" for n in range(1, 8)), "8")
    assert describe_check(check).count(";") == 4
