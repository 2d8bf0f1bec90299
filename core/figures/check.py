"""Looks for the figures of an answer in what the tools returned, and in what follows from it."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, groupby, islice, permutations, zip_longest

from core.base.value_formats import parse_number
from core.domain.rows import RowsResult
from core.figures.reading import Figure, find_figures, find_numbers

MAX_CHECKED_FIGURES = 200
MAX_COMPARED_NUMBERS = 20_000
MAX_RELATED = 30
"""Among the differences of more numbers is nearly any figure."""
MAX_RELATED_WISHES = 10
MAX_PAIRED_ROWS = 12
MAX_NUMBER = 1e300
MIN_SLIP_DIGITS = 4
"""In 23 of 100 right answers of strangers, a shorter figure was one digit off by chance."""

Part = tuple[float, float]
"""A number, and what it is a part of; 0 for nothing."""


@dataclass(frozen=True, slots=True)
class FigureCheck:
    """The texts of the figures. `from_run`: found only in what a run of Python printed. `slips` are
    those of the missing ones that differ by one digit, or by one row, from what was read, and
    hardly by chance."""

    found: Sequence[str]
    from_run: Sequence[str]
    missing: Sequence[str]
    slips: Sequence[str] = ()


def check_figures(
    answer: str,
    asked: str,
    results: Sequence[RowsResult],
    texts: Sequence[str],
    runs: Sequence[str],
    said: str = "",
) -> FigureCheck:
    """Figures of the question `asked` are not checked, and none of what was `said` earlier is
    missing. `texts` are those that the tools returned to the model, `runs` what runs of Python
    printed."""
    figures = list(islice(find_figures(answer), MAX_CHECKED_FIGURES + 1))
    if not any(figure.is_checked for figure in figures):
        return FigureCheck((), (), ())
    wished = [value for wish in find_figures(asked) for value, _ in wish.readings]
    asked_for = {*wished}
    known = {value for figure in find_figures(said) for value, _ in figure.readings}
    del wished[MAX_RELATED_WISHES:]
    counts = {3, *(int(value) for value in wished if value < 30)}
    tables = list(map(_read_columns, results))
    # What a run prints has its figures at the ends of lines.
    lines = [[*find_numbers(line)][::-1] for run in runs for line in run.split("\n")]
    printed = [[n for n in column if n is not None] for column in zip_longest(*lines)]
    compared = (_compare(columns, counts) for columns in tables)
    values = _collect(_read(texts), *map(_derive, results), *compared)
    of_runs = _collect(_read(runs), _compare(printed, counts))
    sums = [sum(column) for columns in tables for column in columns]
    related = _collect(
        _relate([*{*sums, *wished, *(number for number, _ in _read(runs))}]), _scale(sums, wished)
    )
    near = _collect((sum(c) + d, 0) for t in tables for c in t for n in c for d in (n, -n))
    found, from_run, missing = list[str](), list[str](), list[Figure]()
    for _, sentence in groupby(figures, key=lambda figure: figure.sentence):
        bases, open_figures = [*wished], list[Figure]()
        for figure in sentence:
            numbers = [value for value, _ in figure.readings]
            if figure.is_checked and asked_for.isdisjoint(numbers):
                if values.have(figure):
                    found.append(figure.text)
                elif of_runs.have(figure):
                    from_run.append(figure.text)
                elif known.isdisjoint(numbers):
                    open_figures.append(figure)
                    continue
            bases += numbers
        added = ((a + b, 0) for a, b in combinations(bases, 2))
        of_sentence = _collect(_relate(bases), added, _scale(bases, wished))
        for figure in open_figures:
            if of_sentence.have(figure) or related.have(figure):
                found.append(figure.text)
            else:
                missing.append(figure)
    if len(figures) > MAX_CHECKED_FIGURES:  # what follows is not checked
        found, from_run = [], []
    slips = [
        figure.text
        for figure in missing
        if sum(map(str.isdecimal, figure.text)) >= MIN_SLIP_DIGITS
        and (
            near.have(figure)
            or any(known.have(form) for form in _vary_digits(figure) for known in (values, of_runs))
        )
    ]
    return FigureCheck(found, from_run, [figure.text for figure in missing], slips)


def _vary_digits(figure: Figure) -> Iterator[Figure]:
    text = figure.text
    for at in (at for at, letter in enumerate(text) if letter.isdecimal()):
        for digit in "0123456789":
            yield from find_figures(text[:at] + digit + text[at + 1 :])


@dataclass(frozen=True, slots=True)
class Values:
    """Numbers in which figures are looked for, both sorted. `shares` are in percent."""

    numbers: Sequence[float]
    shares: Sequence[float]

    def have(self, figure: Figure) -> bool:
        """Return whether a number may be written as the figure."""
        for value, tolerance in figure.readings:
            places = [(self.numbers, 1.0)]
            if figure.is_share:
                places += [(self.shares, 1), (self.numbers, 100), (self.shares, 0.01)]
            for numbers, scale in places:
                distance = (tolerance + 1e-9 * value) / scale
                at = bisect_left(numbers, value / scale - distance)
                if at < len(numbers) and numbers[at] <= value / scale + distance:
                    return True
        return False


def _collect(*sources: Iterable[Part]) -> Values:
    numbers, shares = set[float](), set[float]()
    for number, whole in chain(*(islice(parts, MAX_COMPARED_NUMBERS) for parts in sources)):
        if abs(number) < MAX_NUMBER:  # neither infinite nor no number
            numbers.add(abs(number))
            if whole:
                shares.add(100 * abs(number / whole))
    return Values(sorted(numbers), sorted(shares))


def _read(texts: Iterable[str]) -> Iterator[Part]:
    return ((number, 0) for text in texts for number in find_numbers(text))


def _read_columns(result: RowsResult) -> list[list[float]]:
    return [
        [float(parse_number(row[at]) or 0) for row in result.values]
        for at, column in enumerate(result.columns)
        if column.kind == "number"
    ]


def _relate(numbers: Sequence[float]) -> Iterator[Part]:
    """Yield the differences of two numbers, and each as a part of the other."""
    for a, b in permutations(numbers if len(numbers) <= MAX_RELATED else (), 2):
        yield from ((a - b, b), (a, b))


def _scale(numbers: Sequence[float], factors: Iterable[float]) -> Iterator[Part]:
    """Yield what factors and percentages of the question make of the numbers."""
    for factor in filter(None, factors):
        scales = (factor, 1 / factor, factor / 100, 1 + factor / 100, 1 - factor / 100)
        yield from ((number * scale, 0) for number in numbers for scale in scales)


def _derive(result: RowsResult) -> Iterator[Part]:
    """Yield the numbers of a result; and how many rows there are, and their sums and means, in all
    and for each value of a column."""
    yield from _read(chain(*result.rows, result.total))
    columns = _read_columns(result)
    groups = defaultdict[tuple[int, str], list[int]](list)
    for row, cells in enumerate(result.rows):
        for key in ((-1, ""), *enumerate(cells)):
            groups[key].append(row)
    for rows in groups.values():
        yield len(rows), len(result.rows)
        for column in columns:
            part = sum(column[row] for row in rows)
            yield from ((part, sum(column)), (part / len(rows), 0))


def _compare(columns: Sequence[Sequence[float]], counts: Collection[int]) -> Iterator[Part]:
    """Yield how the columns of a row differ, and how rows do; and what two rows, and the first and
    last `counts` rows, add up to. What all rows but one add up to is a wrong total."""
    sums = list(map(sum, columns))
    for row in (*zip(*columns, strict=False), sums):
        yield from _relate(row)
        yield from ((a / b, 0) for a, b in permutations(row, 2) if b)
    for one, other in combinations(columns, 2):
        products = [a * b for a, b in zip(one, other, strict=False)]
        products.append(sum(products))
        yield from ((number, 0) for number in products[-MAX_PAIRED_ROWS:])
    for column, whole in zip(columns, sums, strict=True):
        yield whole, 0
        for a, b in combinations(column[:MAX_PAIRED_ROWS], 2):
            yield from _relate((a, b))
            if len(column) > 3:
                yield a + b, whole
        for count in counts:
            if 2 < count < len(column) - 1:
                yield from ((sum(part), whole) for part in (column[:count], column[-count:]))
