"""Voice messages: a model writes down what people say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from bot.features.base import Feature, SetupCard, SetupField
from core.base.i18n import say
from core.base.openai import ModelServerClient, check_server
from core.domain.messages import File, Progress
from core.domain.records import Health
from core.integrations import Integration, IntegrationDependencies, SharedSettings
from core.models import ModelSettings
from core.money.budget import Budget
from core.turn.context import ToolContexts
from core.turn.preparation import Listen
from core.turn.run import TurnRun
from core.voice import Transcriber, VoiceError

TITLE = "Voice messages"
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


class VoiceIntegration(Integration[ModelSettings]):
    """The model that hears, at the model's server or at one of its own."""

    name = "voice"
    settings = ModelSettings
    sent_to: ClassVar = {"ponte_transcribe_base_url": ("ponte_transcribe_api_key",)}

    def summary(self, settings: ModelSettings, shared: SharedSettings) -> Health | None:
        return Health("voice", "on", model) if (model := settings.transcribe_model) else None

    async def check(self, deps: IntegrationDependencies[ModelSettings]) -> Sequence[Health]:
        # Loaded only for a check.
        from core.models.model_server import judge_voice

        settings = deps.own
        if not settings.transcribe_model:
            return []
        is_own = any(settings.voice_server)
        place = deps.client.of_server(*settings.voice_server).place
        setting = "PONTE_TRANSCRIBE_API_KEY" if is_own else "OPENAI_API_KEY"
        names = await check_server(deps.http, place, setting)
        model = next(iter(names), "") if is_own else settings.ponte_model
        return [judge_voice(settings.transcribe_model, model, names)]


class VoiceFeature(Feature):
    """Listens if a model for it is set."""

    def build_listener(
        self, settings: Any, client: ModelServerClient, budget: Budget
    ) -> Listen | None:
        if not (model := settings.transcribe_model):
            return None
        client = client.of_server(*settings.voice_server)
        return VoiceMessages(Transcriber(client, model, budget)).listen


FEATURE = VoiceFeature(
    integration=VoiceIntegration(),
    card=SetupCard(
        "voice",
        TITLE,
        "M12 3a3 3 0 0 1 3 3v6a3 3 0 0 1-6 0V6a3 3 0 0 1 3-3zM5 12a7 7 0 0 0 14 0M12 19v3",
        "Transcribes what people say in voice messages.",
        (
            "Choose a model for speech, such as gpt-transcribe. Without an address and a key here, "
            "the server of your model is used.",
        ),
        (
            SetupField("ponte_transcribe_model", words="Name of the model"),
            SetupField("ponte_transcribe_base_url", words="Address (optional)"),
            SetupField("ponte_transcribe_api_key", words="API key", is_secret=True),
        ),
    ),
)
