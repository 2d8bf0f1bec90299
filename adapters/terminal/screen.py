"""Writes answers, cards and files to a terminal or a pipe."""

from __future__ import annotations

import functools
import io
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from socket import gethostname
from typing import TYPE_CHECKING, Any, ClassVar, TextIO
from urllib.parse import quote

from prompt_toolkit import PromptSession
from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.shortcuts import CompleteStyle
from prompt_toolkit.utils import get_cwidth
from rich.cells import cell_len, split_graphemes
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from core.base.growing_markdown import ended_blocks_length
from core.base.i18n import LANGUAGE, TIME_ZONE, find_zone, format_moment, say, use_locale
from core.base.markdown import is_too_complex, to_plain_text
from core.base.text import clean_text, to_one_line
from core.base.trust import defang_for_terminal
from core.changes.card_rows import CardRow, CardTable, read_rows, tabulate
from core.chat.approval_notices import describe_state, list_typed
from core.commands.grammar import COMMAND_NAMES, TRANSLATED, localize_command

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

HISTORY_SIZE = 200
"""Earlier messages that the arrow keys bring back. They are read from Ponte and stored nowhere
else."""
_FILE = re.compile(r"(?:^|\s)@(?P<path>[^\s\"]*)$")


class LineEditor:
    """The `LineSource` of a terminal. Ctrl-C and Ctrl-D end the input."""

    shows_prompt = True

    def __init__(self, past: Sequence[str], slugs: Sequence[str]) -> None:
        """The arrow keys bring back `past`, earlier messages; the tab key completes `slugs`, the
        names of quick commands. Enter sends, Alt-Enter begins a new line (a terminal sends Alt as
        Escape)."""
        history = InMemoryHistory()
        for text in past[-HISTORY_SIZE:]:
            history.append_string(text)
        keys = KeyBindings()
        keys.add("enter")(lambda event: event.current_buffer.validate_and_handle())
        keys.add("escape", "enter")(lambda event: event.current_buffer.newline(copy_margin=False))
        self._message = say("You: ")
        self._session: PromptSession[str] = PromptSession(
            history=history,
            completer=CommandCompleter(slugs),
            complete_while_typing=False,
            complete_style=CompleteStyle.READLINE_LIKE,  # as in a shell, so without a menu
            reserve_space_for_menu=0,
            multiline=True,
            key_bindings=keys,
            prompt_continuation=" " * get_cwidth(self._message),
        )

    async def read_line(self, in_code: bool = False) -> str | None:
        """Return the next message, which may have several lines, or None after Ctrl-C or Ctrl-D.
        `in_code`: a code block is open, so prompt and hint say how to close it."""
        hint = say("Close the code with ```, or press Ctrl-C to discard it.")
        hint = hint if in_code else say("Alt-Enter: new line")
        try:
            return await self._session.prompt_async(
                "… " if in_code else self._message,
                handle_sigint=False,  # else it would replace the handler of `catch_interrupts`
                placeholder=FormattedText([("fg:ansibrightblack", hint)]),
            )
        except (EOFError, KeyboardInterrupt):
            return None

    async def print_above(self, write: Callable[[], None]) -> None:
        """Run `write` while the prompt is away; it is drawn again below."""
        await run_in_terminal(write)


class CommandCompleter(Completer):
    """Completes commands, names of quick commands after `quick-command`, and file names after
    @."""

    def __init__(self, slugs: Sequence[str]) -> None:
        self._names = sorted({*COMMAND_NAMES - {"save"}, *TRANSLATED.get(LANGUAGE.get(), ())})
        self._slugs = slugs
        self._paths = PathCompleter(expanduser=True)

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """Complete the text before the cursor: a path after @, the name of a quick command after
        `quick-command`, or a command at the beginning."""
        text = document.text_before_cursor
        if match := _FILE.search(text):
            yield from self._paths.get_completions(Document(match["path"]), complete_event)
            return
        # A command may begin with either sign, or with none.
        head, space, rest = text.lstrip("/!").partition(" ")
        is_quick = head in ("quick-command", localize_command("quick-command"))
        names = self._slugs if space and is_quick else () if space else self._names
        typed = rest if space else head
        yield from (
            Completion(name, -len(typed)) for name in names if name.startswith(typed.lower())
        )


_DEEP = re.compile(r"^(?:[ \t]*(?:>|[-*+]|\d{1,9}[.)])){10}", re.MULTILINE)
"""Lists and quotes that are nested 10 levels deep. markdown-it reads 20 levels and leaves out
deeper ones."""
MAX_MARKDOWN_COLUMNS = 100
"""The largest width of rendered prose. Tables may be as wide as the window."""
MIN_COLUMN_COLUMNS = 8
"""The smallest width of a table's column. If the window is too narrow for that, each row is a block
of lines."""
MAX_TABLE_COLUMNS = 10_000
"""In this width a table is measured, to find out how wide it would like to be."""
TAB_COLUMNS = 4
"""A tab becomes spaces, because a terminal's tab has no fixed width."""
_SIMPLER = {
    "softbreak": "hardbreak", "image": "text", "math_inline": "text", "math_block": "code_block",
}  # fmt: skip
"""The type that rich draws, by one that it draws otherwise or not at all."""
_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_DIM, _PLAIN, _WIPE = "\x1b[2m", "\x1b[0m", "\r\x1b[K"


def local_zone() -> str:
    """Return the IANA name of this machine's time zone; "" if it is unknown or UTC, which servers
    and containers have before somebody chooses one."""
    name = os.environ.get("TZ", "").lstrip(":")
    name = (name or os.path.realpath("/etc/localtime")).rpartition("zoneinfo/")[2]
    return name if name not in ("UTC", "Etc/UTC") and find_zone(name) else ""


@dataclass(frozen=True, slots=True)
class DownloadedFile:
    """A file of an answer. `path` is where it was saved ("" if that failed). `code` is its text if
    it is the code that ran. `size` is in bytes.
    """

    name: str
    size: int
    path: str = ""
    code: str = ""


class Screen:
    """Writes answers as they grow, a line of progress, cards and files.

    All text from outside is cleaned first, because a terminal obeys escape sequences in it. A pipe
    gets only the final text, without formatting.
    """

    def __init__(self, stdout: TextIO, *, shows_shell_commands: bool = False) -> None:
        self.live = stdout.isatty()
        """The output is a terminal, on which text can be replaced."""
        self._shows_shell_commands = shows_shell_commands
        """Cards name commands of the shell instead of the chat's."""
        self._stdout = stdout
        self._progress = False
        """A line of progress is on the screen, which the next output replaces."""
        self._shown = ""
        """The answer so far. Its first `_rendered` characters are on the screen in their final
        form."""
        self._rendered = 0
        self._preview = ""
        """What is on the screen below that form: the last rows of a block that has not ended."""

    def show_prompt(self) -> None:
        """Write the prompt, on a terminal only."""
        if self.live:
            self._write(say("You: "))

    def write_line(self, text: str) -> None:
        """Write a line of text, ours or from outside."""
        self._erase_progress()
        self._write(f"{clean_text(text)}\n")

    def show_progress(self, words: str) -> None:
        """Replace the line of progress, unless text of the answer is on the screen."""
        if not self.live or self._shown:
            return
        words = clean_text(words).replace("\n", " ")
        width = shutil.get_terminal_size().columns - 1
        self._write(f"{_WIPE}{_DIM}{words[:width]}{_PLAIN}" if words else _WIPE)
        self._progress = bool(words)

    def show_text(self, text: str) -> None:
        """Write the answer so far.

        Each block of Markdown is rendered once it has ended. Until then its last rows are shown as
        they were written, as many as fit into the window, so that they can be erased. Of `_shown`,
        the text so far, the first `_rendered` characters are in their final form. `_preview` is
        what is on the screen below them.
        """
        text = clean_text(text).expandtabs(TAB_COLUMNS)
        if not self.live or self._shown.startswith(text):
            return
        self._erase_progress()
        # What is on the screen in its final form has changed, so all of it is written once more.
        if not text.startswith(self._shown[: self._rendered]):
            self._write("\n")
            self._rendered, self._preview = 0, ""
        end = self._rendered + ended_blocks_length(text[self._rendered :])
        ended = text[self._rendered : end]
        # A line of a formula can look like the beginning of a list.
        is_in_formula = ended.count("$$") % 2 or ended.count(r"\[") > ended.count(r"\]")
        if ended and not is_in_formula:
            self._render_block(text[:end])
        # One row less than the window: what has scrolled away cannot be erased.
        columns, height = shutil.get_terminal_size()
        lines = text[self._rendered :].split("\n")[1 - height :]
        rows = split_rows("\n".join(lines), columns)
        self._replace_preview("\n".join(rows[1 - height :]))
        self._shown = text

    def _render_block(self, text: str, last: bool = False) -> None:
        self._replace_preview(render_markdown(text[self._rendered :]) + ("\n" if last else "\n\n"))
        self._shown, self._rendered, self._preview = text, len(text), ""

    def _replace_preview(self, text: str) -> None:
        """Write `text` in place of the preview, which stays if its rows are no longer all on the
        screen, because the window became smaller."""
        columns, height = shutil.get_terminal_size()
        # Text that continues the preview is written after it. Else the screen is erased from the
        # preview's first row on (ANSI escape sequences; _WIPE erases one row). Rows that have left
        # the screen cannot be erased: the text begins below.
        if not text.startswith(self._preview):
            rows = len(split_rows(self._preview, columns))
            erase = f"\r\x1b[{rows - 1}A\x1b[J" if rows > 1 else _WIPE
            self._write(erase if rows <= height else "\n")
            self._preview = ""
        self._write(text[len(self._preview) :])
        self._preview = text

    def show_answer(self, body: Mapping[str, Any], files: Sequence[DownloadedFile] = ()) -> None:
        """Write the complete answer from the event `done`, with its cards and files. On a terminal,
        `show_text` has written most of it while it grew. `_shown` is the text so far; its first
        `_rendered` characters are in their final form."""
        text = clean_text(str(body["response"]))
        if self.live:
            self.show_text(text)
            self._erase_progress()
            # The last block has no end by which `show_text` could know it.
            if self._shown[self._rendered :].strip():
                self._render_block(self._shown, last=True)
        else:
            self._write(f"{to_plain_text(text)}\n")
        self._shown, self._rendered, self._preview = "", 0, ""
        self.show_extras(body["cards"], files)

    def show_extras(
        self, cards: Sequence[Mapping[str, Any]], files: Sequence[DownloadedFile]
    ) -> None:
        for card in cards:
            self._card(card)
        for file in files:
            self._file(file)

    def _file(self, file: DownloadedFile) -> None:
        """Write where a file was saved, on a terminal as a link. The code that ran is written in
        full, dim on a terminal."""
        if file.code:  # only shown, never saved; `fetch` has cleaned it
            dim, plain = (_DIM, _PLAIN) if self.live else ("", "")
            lines = "\n".join(f"  | {line}" for line in file.code.splitlines())
            self._write(f"{dim}{lines}{plain}\n")
            return
        size = max(1, round(file.size / 1000))
        where = to_one_line(file.path) or say("the file couldn't be saved")
        if self.live and file.path:
            where = link_to_file(file.path)
        self._erase_progress()
        self._write(f"  [{to_one_line(file.name)}, {size} kB] {where}\n")

    def _card(self, card: Mapping[str, Any]) -> None:
        """Write a card: its title, text and changes, when it expires, and the commands to type.

        Several rows become a table. On a terminal it is fitted to the window; in a pipe, each row
        is one line, with columns of equal width.
        """
        rows = read_rows(card["rows"])
        self._card_line(2, f"# {card['title']} · {describe_state(card['state'])}")
        if card["text"]:
            self._card_line(4, card["text"])
        if (table := tabulate(rows)) is None:
            for row in rows:
                # A changed row is one line; a new one has a line for each field.
                if not row.is_new:
                    self._card_line(
                        4, to_one_line(": ".join(filter(None, [row.heading, row.text])))
                    )
                    continue
                if row.name:
                    self._card_line(4, to_one_line(row.name))
                for change in row.changes:
                    value = "\n  ".join(change.list_lines())
                    self._card_line(4, f"{to_one_line(change.field)}: {value}")
        elif self.live and (lines := draw_card_table(table, shutil.get_terminal_size().columns)):
            for line in lines:
                self.write_line(self._without_links(line))
        else:
            lines_of_cells = [tuple(map(to_one_line, table.header))] + [
                (to_one_line(name), *(to_one_line(cell.value) if cell else "" for cell in cells))
                for name, cells in table.rows
            ]
            numbers = range(len(table.header))
            widths = [max(cell_len(line[n]) for line in lines_of_cells) for n in numbers]
            for line_cells in lines_of_cells:
                sized = zip(line_cells, widths, strict=True)
                padded = [cell + " " * (width - cell_len(cell)) for cell, width in sized]
                self.write_line(self._without_links(f"    {'  '.join(padded).rstrip()}"))
        is_open, last = card["state"] == "open", ""
        if moment := card.get("expires_at" if is_open else "decided_at"):
            # In the time zone of this machine, which is the reader's.
            zone = local_zone()
            at = datetime.fromtimestamp(moment, find_zone(zone or TIME_ZONE.get()))
            when = format_moment(at) if zone else f"{format_moment(at)} ({TIME_ZONE.get()})"
            last = f"{say('Expires on {when}.', when=when) if is_open else when} "
        self._card_line(4, f"{last}({card['id']})")
        if card["actions"]:
            # Text that a pipe sends to `ponte chat` is never a command, so the commands of the
            # shell, which are English, are named there.
            before = "ponte changes " if self._shows_shell_commands else ""
            with use_locale("en" if self._shows_shell_commands else ""):
                typed = list_typed(card["id"], card["actions"])
            if "change" in card["actions"]:
                typed[card["actions"].index("change")] += self._change_example(rows)
            hints = " · ".join(before + hint for hint in typed)
            self._card_line(4, say("Type: {hints}", hints=hints))

    def _change_example(self, rows: Sequence[CardRow]) -> str:
        """Return the card's first field as `change` reads it; "" without one: then the answer to
        `change` names the fields."""
        change = next(iter(rows[0].changes), None) if rows else None
        if change is None:
            return ""
        number = "1." if len(rows) > 1 else ""
        example = f"{number}{to_one_line(change.field)} = …"
        return f" {shlex.quote(example) if self._shows_shell_commands else example}"

    def _card_line(self, indent: int, text: str) -> None:
        text, margin = self._without_links(clean_text(text)), " " * indent
        columns = shutil.get_terminal_size().columns
        lines = wrap_text(text, columns - indent) if self.live else text.split("\n")
        self.write_line("\n".join(f"{margin}{line}" for line in lines))

    def _without_links(self, text: str) -> str:
        """A terminal must recognize no links in a card. For a pipe the text is unchanged."""
        return defang_for_terminal(text) if self.live else text

    def _erase_progress(self) -> None:
        if self._progress:
            self._write(_WIPE)
            self._progress = False

    def _write(self, text: str) -> None:
        self._stdout.write(text)
        self._stdout.flush()


def link_to_file(path: str) -> str:
    """Return the path as a link to the file that terminals open (OSC 8).

    The path in the address is percent-encoded and the visible one cleaned, so that no file name can
    control the terminal. The address names this machine, as terminals expect: one that runs on
    another machine then does not open a file of its own.
    https://gist.github.com/egmontkob/eb114294efbcd5adb1944c9f3cb5feda
    """
    address = f"file://{quote(gethostname())}{quote(os.fsencode(os.path.abspath(path)))}"
    return f"\x1b]8;;{address}\x1b\\{to_one_line(path)}\x1b]8;;\x1b\\"


def split_rows(text: str, columns: int) -> list[str]:
    """Return the rows that the text fills on a screen of that width.

    Terminals draw an emoji that is joined from several, or a flag, as one character or as its
    parts. No row is wider than the screen either way.
    """
    rows = []
    for line in text.split("\n"):
        start = at = width = 0
        # `[0]` are the graphemes (the characters that people see).
        for begin, end, _ in split_graphemes(line)[0]:
            piece = line[begin:end]
            # The larger width: drawn as one character, or as its parts.
            cells = max(cell_len(piece), sum(map(cell_len, piece)))
            if width + cells > columns:  # a wide character is not split over two rows
                rows.append(line[start:at])
                start, width = at, 0
            at, width = at + len(piece), width + cells
        rows.append(line[start:])
    return rows


def wrap_text(text: str, columns: int) -> list[str]:
    """Break text between words into lines. A terminal too narrow for that gets lines of
    MIN_COLUMN_COLUMNS."""
    console = Console(file=io.StringIO(), width=max(columns, MIN_COLUMN_COLUMNS))
    return [line.plain.rstrip() for line in Text(text).wrap(console, console.width)]


def draw_card_table(table: CardTable, columns: int) -> list[str]:
    """Return a card's table, indented. Cells are wrapped to fit `columns`. If that is too narrow,
    each row becomes lines of its own."""
    rich_table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in table.header:
        rich_table.add_column(Text(to_one_line(name)), header_style="")
    for name, cells in table.rows:
        values = [to_one_line(cell.value) if cell else "" for cell in cells]
        rich_table.add_row(Text(to_one_line(name)), *map(Text, values))
    # Four columns are the indentation. Rich's styles are removed: a card is plain text.
    lines = _draw(FittingTable(rich_table), columns - 4).split("\n")
    return [f"    {_STYLE.sub('', line)}".rstrip() for line in lines]


class FittingTable:
    """A table for rich, with one block for each row if it has too many columns for the window."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table if it fits, or if folded cells can have the width MIN_COLUMN_COLUMNS:
        narrower columns could not be read. Otherwise each cell is on its own line, after its
        heading, with an empty line between rows."""
        table = self._table
        for column in table.columns:
            column.overflow = "fold"  # a long word continues in the next line
        # The width without the limit of the window.
        natural = table.__rich_measure__(console, options.update(width=MAX_TABLE_COLUMNS))
        needed = len(table.columns) * (MIN_COLUMN_COLUMNS + 2)  # 2 for the space between columns
        if natural.maximum <= options.max_width or needed <= options.max_width:
            yield table
            return
        cells = [list(column.cells) for column in table.columns]
        for row in range(table.row_count):
            for column, values in zip(table.columns, cells, strict=True):
                heading, value = column.header, values[row]
                if isinstance(heading, Text) and isinstance(value, Text) and value.plain:
                    yield Text.assemble(heading, ": ", value)
            if row + 1 < table.row_count:
                yield Text("")


def render_markdown(text: str) -> str:
    """Return Markdown as a terminal shows it. Line breaks stay, and addresses of links and pictures
    are written in full. Text that is too complex or nested too deeply is returned unchanged."""
    if is_too_complex(text) or _DEEP.search(text):
        return text.strip("\n")
    # A pipe needs none of it.
    from rich.markdown import Markdown, TableElement

    columns = shutil.get_terminal_size().columns

    class WideTable(TableElement):
        """A table that may be as wide as the window. Lines of prose are shorter."""

        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            for table in super().__rich_console__(console, options):
                if isinstance(table, Table):
                    table.show_edge = False  # its edges are blank lines
                    yield from console.render(FittingTable(table), options.update(width=columns))

    class WideMarkdown(Markdown):
        elements: ClassVar = {**Markdown.elements, "table_open": WideTable}

    document = WideMarkdown(text, hyperlinks=False)
    # Rich's own parser would drop HTML, so its tokens are replaced by those of ours.
    document.parsed = list(_simplify_tokens(_make_parser().parse(text)))
    return _draw(document, min(columns, MAX_MARKDOWN_COLUMNS))


@functools.cache
def _make_parser() -> MarkdownIt:
    """The parser has the page's extensions, such as formulas. A pipe needs none, so it is imported
    here."""
    from markdown_it import MarkdownIt

    from adapters.web.page.render import add_markdown_extensions

    markdown = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    add_markdown_extensions(markdown)
    # A definition stays text: each block is drawn alone, so it comes too late for its link or
    # footnote. So does a plain address, which would be written twice, as a link's text and target.
    return markdown.disable(["reference", "footnote", "addresses"])


def _simplify_tokens(tokens: Iterable[Token]) -> Iterable[Token]:
    """Change the tokens of Markdown where rich would draw less than the model wrote, or an address
    twice: `_SIMPLER` makes formulas text or code, and a line break of a blank."""
    for token in tokens:
        # A picture becomes text: its description and its address. A text token has no tag and no
        # children; those of the picture have only the description.
        if token.type == "image":
            token.content = f"{token.content} ({token.attrGet('src')})".lstrip()
            token.tag, token.children = "", None
        children = list(_simplify_tokens(token.children or ()))
        for opener, label, closer in zip(children, children[1:], children[2:], strict=False):
            if closer.type == "link_close" and label.content == opener.attrGet("href"):
                opener.type = closer.type = "text"
        token.type = _SIMPLER.get(token.type, token.type)
    return tokens


def _draw(renderable: RenderableType, columns: int) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system="standard", width=max(columns, 1))
    console.print(renderable, crop=False)
    return "\n".join(line.rstrip() for line in out.getvalue().split("\n")).strip("\n")
