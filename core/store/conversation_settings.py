"""The settings of single conversations of the page: the title that the model made, and a person's
instructions for the model."""

from __future__ import annotations

import time

from core.store.database import Database, SqlConnection, lock_key

UNUSED_INSTRUCTIONS_SECONDS = 86_400.0
"""Seconds after which instructions are deleted if their conversation has no message."""


class SqlConversationSettings:
    """The titles and instructions of conversations in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim_title(self, thread: str) -> bool:
        """Return whether the caller must make the title of this thread: only the first caller, and
        only if no person gave the conversation a title."""

        def claim(connection: SqlConnection) -> bool:
            # The UPDATE tests the title itself, so only one of several callers changes the row.
            claimed = connection.execute(
                "UPDATE threads SET title = '' WHERE id = ? AND title IS NULL AND NOT EXISTS ("
                "SELECT 1 FROM conversations AS c WHERE c.conversation = threads.conversation"
                " AND c.title <> '')",
                (thread,),
            )
            return bool(claimed.rowcount)

        return await self._database.write(claim)

    async def set_title(self, thread: str, title: str) -> None:
        """Store the title that the model made. A thread that was forgotten meanwhile gets none."""

        def write(connection: SqlConnection) -> None:
            connection.execute("UPDATE threads SET title = ? WHERE id = ?", (title, thread))

        await self._database.write(write)

    async def read_instructions(self, conversation: str) -> str:
        """Return what a person told the model for this conversation, "" for nothing."""

        def read(connection: SqlConnection) -> str:
            row = connection.execute(
                "SELECT text FROM conversation_instructions WHERE conversation = ?",
                (conversation,),
            ).fetchone()
            return str(row["text"]) if row else ""

        return await self._database.read(read)

    async def set_instructions(self, conversation: str, person: str, text: str) -> None:
        """Store what a person (a key) tells the model for this conversation; "" removes it."""

        def write(connection: SqlConnection) -> None:
            lock_key(connection, conversation)
            delete_instructions(connection, conversation)
            # Instructions can be written before the first message, which may never come.
            connection.execute(
                "DELETE FROM conversation_instructions WHERE person = ? AND at < ? AND NOT EXISTS ("
                "SELECT 1 FROM inbox WHERE inbox.conversation ="
                " conversation_instructions.conversation)",
                (person, time.time() - UNUSED_INSTRUCTIONS_SECONDS),
            )
            if text:
                connection.execute(
                    "INSERT INTO conversation_instructions (conversation, person, text, at)"
                    " VALUES (?, ?, ?, ?)",
                    (conversation, person, text, time.time()),
                )

        await self._database.write(write)


def delete_instructions(connection: SqlConnection, conversation: str) -> None:
    """Delete the instructions of a conversation."""
    connection.execute(
        "DELETE FROM conversation_instructions WHERE conversation = ?", (conversation,)
    )
