"""The size of the product in numbers, to be watched; nothing fails: `make measure`.

Tokens are Python's, so longer lines save none, and strings in place of comments save no words.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tests.sources import PRODUCT, ROOT, list_sources, parse, walk_nodes

LONG_STRING = 12
"""Words of a string that counts as long."""
UNFORMATTED = re.compile(r"#\s*fmt:\s*(skip|off)")
PRAGMA = re.compile(r"#\s*(noqa|type:|fmt:|pragma)")

NO_CODE = frozenset(
    {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
)


@dataclass(frozen=True)
class Size:
    """`tokens` are Python's, without comments, text, line ends and indentation; `lines` those with
    code. Text is docstrings, strings that explain fields, and comments that people read."""

    tokens: int
    lines: int
    text_words: int
    long_string_words: int


def measure_size(source: str, nodes: Iterable[ast.AST] = ()) -> Size:
    """Count what is in a file. `nodes` are those of the source, where they are known."""
    nodes = nodes or list(ast.walk(ast.parse(source)))
    texts, lines = list_text_lines(nodes), source.splitlines()
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    comments = [token.string for token in tokens if token.type == tokenize.COMMENT]
    strings = [
        len(node.value.split())
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if node.lineno not in texts
    ]
    return Size(
        tokens=sum(token.type not in NO_CODE and token.start[0] not in texts for token in tokens),
        lines=sum(
            number not in texts and line.strip()[:1] not in ("", "#")
            for number, line in enumerate(lines, 1)
        ),
        text_words=sum(len(lines[number - 1].strip(' "').split()) for number in texts)
        + sum(len(line.lstrip("#").split()) for line in comments if not PRAGMA.match(line)),
        long_string_words=sum(count for count in strings if count >= LONG_STRING),
    )


def list_text_lines(nodes: Iterable[ast.AST]) -> set[int]:
    """Return the numbers of the lines of docstrings and of the strings that explain fields."""
    texts: set[int] = set()
    for node in nodes:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for each in node.body:
                if isinstance(each, ast.Expr) and is_text(each.value):
                    texts.update(range(each.lineno, (each.end_lineno or each.lineno) + 1))
    return texts


def is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


@dataclass(frozen=True)
class Names:
    """How code names a feature (`pattern`), and the folders and files that are its own."""

    pattern: str
    folders: tuple[str, ...]


FEATURES: Mapping[str, Names] = {
    "feedback": Names(
        r"[Ff]eedback|FEEDBACK|VOTES|Votes\b|\bvotes\b",
        ("bot/features/feedback", "core/feedback", "adapters/web/page/feedback.js"),
    ),
    "MCP tools": Names(
        r"core\.tools\.mcp|mcp_tool|McpTool(?!s\b)|MCP_(TOOLS|CALL|STATE)|McpServer(s|Name|\b)"
        r"|\.mcp\b(?!_server)|McpConfig|mcp (show|accept)|mcp-tools|\(\"mcp\",|STDIO_HINT"
        r"|_check_mcp|NO_MCP_EXTRA|MCP servers?",
        ("bot/features/mcp_", "core/tools/mcp", "adapters/mcp_server"),
    ),
    "MCP server": Names(
        r"adapters\.mcp_server|[Mm]cp_server\b|McpServerConfig|McpSettings|McpEndpoint|McpOrigin"
        r"|McpTools\b|MCP_(PATH|ORIGIN|TOKEN_KIND)|\bMCP\b|ponte_mcp|mcp-request|ChangeRequests"
        r"|kind.*\bmcp\b|\bmcp\b.*token|mcp_calls|mcpServers|mcp\.md|create_mcp|/mcp\b",
        ("bot/features/mcp_", "adapters/mcp_server", "core/tools/mcp"),
    ),
    "webhooks": Names(
        r"[Ww]ebhook|WEBHOOK|\bhooks?\b|HOOKS?_|Hook[A-Z]|Hooks\b|_hook\b",
        # Discord and NocoDB have webhooks of their own.
        ("bot/features/webhooks", "core/webhooks", "adapters/discord", "core/tools/nocodb"),
    ),
    "voice": Names(
        r"(?<![Ii]n)[Vv]oice|[Tt]ranscrib|[Tt]ranscription\b",
        # Discord's library has channels for voices.
        ("bot/features/voice", "core/voice", "adapters/web/page/record.js", "adapters/discord"),
    ),
    "schedules": Names(
        r"[Ss]chedul|SCHEDUL",
        # Jobs are scheduled, and so is the page's next connection.
        (
            "bot/features/schedules",
            "core/schedules",
            "core/journal",
            "adapters/web/page/connection.js",
        ),
    ),
    "sign-in": Names(
        r"OIDC|oidc|sign_in\b|SignIn|SIGN_IN",
        (
            "bot/features/sign_in",
            "core/people/sign_ins.py",
            "adapters/web/oidc",
            "adapters/web/sign_in.py",
        ),
    ),
    "Python": Names(
        r"[Ss]andbox|[Kk]ernel|[Cc]ode_?[Rr]un|CODE_INTEGRATION|CodeSettings|core\.tools\.code"
        r"|ponte_code|[Ii]nterpreter|[Pp]ython\b",
        ("bot/features/python", "core/tools/code"),
    ),
    "StackSpot": Names(
        r"[Ss]tack[Ss]pot|STACKSPOT",
        ("bot/features/stackspot", "core/tools/stackspot"),
    ),
    "sample tables": Names(
        r"core\.tools\.sample|SAMPLE|_sample|sample_|Sample[A-Z]|\bsample (reset|tables)",
        ("bot/features/sample", "core/tools/sample"),
    ),
    "tracing": Names(
        r"[Tt]racing|TRACING|[Tt]races\b|otel_|OTEL_|TraceSpan",
        ("bot/features/tracing", "core/observability/tracing.py"),
    ),
    "backup": Names(
        r"[Bb]ackup|[Rr]estore[ds]?\b(?! the sample)",
        ("bot/features/backup",),
    ),
}


def print_code_size() -> None:
    files = list_sources()
    sizes = [measure_size(path.read_text("utf-8"), walk_nodes(parse(path))) for path in files]
    print(f"Python files: {len(files)}")
    print(f"lines of code: {sum(size.lines for size in sizes):,}")
    print(f"tokens of code: {sum(size.tokens for size in sizes):,}")
    print(f"words of docstrings and comments: {sum(size.text_words for size in sizes):,}")
    print(f"words of long strings: {sum(size.long_string_words for size in sizes):,}")
    for folders in (PRODUCT, ("tests", "benchmarks")):
        count = sum(
            len(UNFORMATTED.findall(path.read_text("utf-8")))
            for folder in folders
            for path in (ROOT / folder).rglob("*.py")
        )
        print(f"statements that the formatter leaves alone in {', '.join(folders)}: {count}")


def print_names_of_features() -> None:
    """Print how many lines of code outside a feature's folders name it."""
    scripts = sorted(path for folder in PRODUCT for path in (ROOT / folder).rglob("*.js"))
    lines: list[tuple[str, str]] = []
    for path in (*list_sources(), *scripts):
        texts = set() if path.suffix == ".js" else list_text_lines(walk_nodes(parse(path)))
        lines += [
            (str(path.relative_to(ROOT)), line)
            for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
            if number not in texts and not re.match(r"\s*(#|//|/?\*|$)", line)
        ]
    for name, feature in FEATURES.items():
        count = sum(
            not path.startswith(feature.folders) and bool(re.search(feature.pattern, line))
            for path, line in lines
        )
        print(f"lines that name {name} elsewhere: {count}")


def print_document_sizes() -> None:
    """Print the words of all documents outside of blocks of code, and the lines of each release."""
    paths = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md"))]
    paths += sorted((ROOT / "docs").rglob("*.md"))
    block = re.compile(r"^ *(```|~~~).*?^ *\1 *$", re.DOTALL | re.MULTILINE)
    words = {path: len(block.sub("", path.read_text("utf-8")).split()) for path in paths}
    print(f"words of documents: {sum(words.values()):,}")
    print(f"words of the architecture: {words[ROOT / 'docs/dev/architecture.md']:,}")
    for release in (ROOT / "CHANGELOG.md").read_text("utf-8").split("\n## ")[1:]:
        print(
            f"lines of the change log: {len(release.splitlines())} ({release.split(maxsplit=1)[0]})"
        )


def main() -> None:
    print_code_size()
    print_names_of_features()
    print_document_sizes()


if __name__ == "__main__":
    main()
