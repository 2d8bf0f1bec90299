"""What the bridge's public code can do: its tools by name, their arguments, what each one touches.

From https://github.com/betofilippi/nocodb_claude_code (`nocodb_http_server.py`, May 2025). A copy
that somebody runs may do less, and may have been changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Touch = Literal["read", "write", "comment", "schema", "private"]
"""`write` changes rows; `comment` says something beside one; `schema` changes tables, bases, views,
or who can see them; `private` would show or take what is not a table's: webhooks hold addresses
with secrets, an upload reads a file of the bridge's own machine."""


@dataclass(frozen=True, slots=True)
class BridgeTool:
    """`arguments` as a signature's text, optional ones with their default."""

    name: str
    touch: Touch
    arguments: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the arguments."""
        return tuple(each.partition("=")[0] for each in self.arguments.split(", ") if each)

    def __str__(self) -> str:
        return f"{self.name}({self.arguments})"


_ROWS = 'table_id, limit=25, offset=0, fields=["Field"], where="(Field,op,value)", sort=["-Field"]'

_ALL = (
    BridgeTool("list_bases", "read"),
    BridgeTool("get_base", "read", "base_id"),
    BridgeTool("create_base", "schema", "name, description=None"),
    BridgeTool("update_base", "schema", "base_id, name=None, description=None"),
    BridgeTool("delete_base", "schema", "base_id"),
    BridgeTool("list_tables", "read", "base_id"),
    BridgeTool("get_table", "read", "base_id, table_id"),
    BridgeTool("create_table", "schema", "base_id, name, columns"),
    BridgeTool("update_table", "schema", "table_id, name=None"),
    BridgeTool("delete_table", "schema", "table_id"),
    BridgeTool("list_columns", "read", "table_id"),
    BridgeTool("create_column", "schema", "table_id, column_data"),
    BridgeTool("update_column", "schema", "column_id, column_data"),
    BridgeTool("delete_column", "schema", "column_id"),
    BridgeTool("list_records", "read", _ROWS),
    BridgeTool("get_record", "read", "table_id, record_id"),
    BridgeTool("create_record", "write", "table_id, record_data"),
    BridgeTool("update_record", "write", "table_id, record_id, record_data"),
    BridgeTool("delete_record", "write", "table_id, record_id"),
    BridgeTool("bulk_create_records", "write", "table_id, records"),
    BridgeTool("bulk_update_records", "write", "table_id, records"),
    BridgeTool("bulk_delete_records", "write", "table_id, record_ids"),
    BridgeTool("list_views", "read", "table_id"),
    BridgeTool("create_view", "schema", "table_id, title, view_type=grid"),
    BridgeTool("update_view", "schema", "view_id, title=None"),
    BridgeTool("delete_view", "schema", "view_id"),
    BridgeTool("list_filters", "read", "view_id"),
    BridgeTool("create_filter", "schema", "view_id, filter_data"),
    BridgeTool("update_filter", "schema", "filter_id, filter_data"),
    BridgeTool("delete_filter", "schema", "filter_id"),
    BridgeTool("list_sorts", "read", "view_id"),
    BridgeTool("create_sort", "schema", "view_id, field, direction=asc"),
    BridgeTool("update_sort", "schema", "sort_id, field=None, direction=None"),
    BridgeTool("delete_sort", "schema", "sort_id"),
    BridgeTool("create_shared_view", "schema", "view_id, password=None"),
    BridgeTool("update_shared_view", "schema", "view_id, password=None"),
    BridgeTool("delete_shared_view", "schema", "view_id"),
    BridgeTool("list_webhooks", "private", "table_id"),
    BridgeTool("create_webhook", "private", "table_id, title, url, event, condition=None"),
    BridgeTool("update_webhook", "private", "hook_id, webhook_data"),
    BridgeTool("delete_webhook", "private", "hook_id"),
    BridgeTool("global_search", "read", "query"),
    BridgeTool("list_comments", "read", "table_id, record_id"),
    BridgeTool("create_comment", "comment", "table_id, record_id, comment"),
    BridgeTool("update_comment", "comment", "comment_id, comment"),
    BridgeTool("delete_comment", "comment", "comment_id"),
    BridgeTool("upload_file", "private", "storage, file_path"),
)

CATALOGUE = {each.name: each for each in _ALL}
READING = tuple(each.name for each in _ALL if each.touch == "read")
WRITING = tuple(each.name for each in _ALL if each.touch == "write")
