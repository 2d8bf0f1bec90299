"""Voice messages: a model of the same server writes down what people say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bot.features.base import Feature
from core.base.i18n import say
from core.base.openai import ModelServerClient
from core.domain.messages import File, Progress
from core.money.budget import Budget
from core.turn.context import ToolContexts
from core.turn.preparation import Listen
from core.turn.run import TurnRun
from core.voice import Transcriber, VoiceError

TRANSCRIBING = "Listening to the voice message…"


@dataclass(frozen=True, slots=True)
class VoiceMessages:
    """Listens to the voice messages of people."""

    transcriber: Transcriber

    async def listen(
        self, run: TurnRun, contexts: ToolContexts, notes: list[str]
    ) -> Mapping[File, str]:
        """Return the words of the author's voice messages by file. `notes` gets a sentence for each
        that could not be understood. In a channel, only threads in which Ponte has answered before
        (they have a `thread_record`) can have voice messages. Raises OverBudget."""
        message = run.turn.message
        is_followed = not message.address.is_shared or run.turn.thread_record is not None
        words = dict[File, str]()
        # The sound in a message of a program or bot is a file like any other.
        if not is_followed or not message.may_be_command:
            return words
        for recording in message.attachments:
            # None: a file, and no voice message.
            if recording.seconds is None:
                continue
            # Stored already, or none if it cannot be had.
            files, _ = await contexts.fetch_attachments(replace(message, attachments=(recording,)))
            for file in files:
                await run.reply.show(Progress(current_step=say(TRANSCRIBING)))
                _, data = await contexts.stores.files.get(file.id)
                try:
                    words[file] = await self.transcriber.transcribe(
                        run.turn, file, data, recording.seconds
                    )
                except VoiceError as error:
                    notes.append(error.words())
        return words


class VoiceFeature(Feature):
    """Listens if a model for it is set."""

    def build_listener(
        self, settings: Any, client: ModelServerClient, budget: Budget
    ) -> Listen | None:
        if not (model := settings.transcribe_model):
            return None
        return VoiceMessages(Transcriber(client, model, budget)).listen


FEATURE = VoiceFeature()
