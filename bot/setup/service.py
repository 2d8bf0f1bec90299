"""Setup from the page: shows the cards, checks what was typed, stores it and starts Ponte anew.

What was typed stays in memory as a draft, so that nobody types a secret twice; the page gets only
the draft's id.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError, validate_call

from bot.config.ponte_toml import LiveConfig
from bot.features.base import SetupCard, SetupField
from bot.home import Home, HomeUnusable, Start
from bot.integrations import ADMINS, CARDS
from bot.logs import mask_also
from bot.settings import Settings, load, service_of
from bot.setup.restart import Restart
from bot.setup.stored import StartTrial, StoredSettings, check_value
from core.base.errors import BadInput, NotFound, SettingsError
from core.base.http import HttpClient, HttpError, RequestOptions
from core.base.i18n import say, translate_word
from core.base.text import fold_to_letters
from core.chat.people import People
from core.domain.messages import Person
from core.domain.records import DoctorFinding
from core.integrations import Integration, plain_value
from core.people.rules import OWNER_ID

if TYPE_CHECKING:
    from bot.health import HealthBoard

Json = Mapping[str, Any]
DRAFT_SECONDS = 600.0
"""What a person typed is kept this long before it is stored."""
MAX_DRAFTS = 20
MAX_LISTED_VALUES = 500
"""How many values of one setting the page lists, of those that a service offers."""
SHOWN_CHARACTERS, MIN_SECRET_TO_SHOW = 4, 16
"""A secret is recognised by its last characters, unless it is so short that they would give it
away."""
LOCAL_SERVERS = (
    ("Ollama", "http://127.0.0.1:11434/v1"),
    ("LM Studio", "http://127.0.0.1:1234/v1"),
    ("llama.cpp", "http://127.0.0.1:8080/v1"),
    ("vLLM", "http://127.0.0.1:8000/v1"),
)
"""Model servers at their usual ports (their documents)."""
LOOK_TIMEOUT_SECONDS = 2.0
"""The timeout of a request to a server on this machine."""
STORING_STEPS = frozenset(
    {"save", "remove", "undo", "apply", "grant", "revoke", "share_sample", "update_app"}
)
"""The audit log names who took these steps."""
CHAT_CARDS = ("slack", "discord")
"""The page lists the people of these platforms."""
MAX_FOUND_PEOPLE = 12
SetupRight = Literal["me", "change", "approve"]
"""What the page gives a person: the owner's own account, changes to data, or approvals too."""


@dataclass(slots=True)
class SetupDraft:
    """The values that the owner typed on a card, by setting, before they are stored. The draft is
    dropped at `until` (monotonic seconds)."""

    card: str
    values: dict[str, str]
    until: float
    choices: Mapping[str, Sequence[str]] = field(default_factory=dict)
    findings: Sequence[DoctorFinding] = ()


class SetupService:
    """The actions of the setup page: show, check and store settings, and start Ponte anew.
    `restart` is None where Ponte cannot start itself again."""

    def __init__(
        self,
        settings: Settings,
        live: LiveConfig,
        home: Home,
        people: People,
        board: HealthBoard,
        restart: Restart | None,  # None: Ponte cannot start itself again
        clock: Callable[[], float] = time.monotonic,  # tells when drafts expire
    ) -> None:
        # `settings` are those in force, `live` the present ponte.toml. `board` has the state of
        # each running service, `people` also the owner's claims on chat accounts.
        self._settings = settings
        self._live = live
        self._home = home
        self._people = people
        self._audit = people.audit
        self._board = board
        self._restart = restart
        self._clock = clock
        self._stored = StoredSettings(home)
        self._drafts: dict[str, SetupDraft] = {}
        """The drafts by a random id; the oldest is first."""

    async def show(self) -> Json:
        """Return everything that the setup page shows: a card for each service with the state of
        what runs now, what became of the newest settings (`trial`: saved and not in force yet, or
        failed), and who has which rights. `locked` says why a card can only be read, and `is_new`
        that a setting of it was saved and waits for a restart. `since` is when settings were saved
        last."""
        parts = {part.name: part for part in await self._board.health()}
        stored, trial, since = self._stored.read(), self._stored.trial, self._stored.since
        cards = []
        for card in CARDS.values():
            part = parts.get(card.name)
            # The demo model always runs; a card "on" would look like a connected model.
            if card.name == "model" and self._board.is_demo:
                part = replace(part, state="off") if part else None
            # One that is off is among them, too.
            integration = next(item for item in self._settings.faces if item.name == card.name)
            steps = [say(step) for step in card.steps]
            # In a thread, because Slack imports a module for its link.
            if creation := await asyncio.to_thread(integration.creation_link, self._settings):
                steps.insert(
                    0,
                    say(
                        "[Create the app]({link}) with everything that Ponte needs.", link=creation
                    ),
                )
            cards.append(
                {
                    "name": card.name,
                    "title": card.title,
                    "icon": card.icon,
                    "purpose": say(card.purpose),
                    "steps": steps,
                    "state": part.state if part else "off",
                    "words": _name_fields(translate_word(part.words)) if part else "",
                    "locked": _name_fields(self._why_locked(card)),
                    "fields": [self._show_field(field, stored) for field in card.fields],
                    "stored": bool(stored.keys() & card.names),
                    "is_new": bool(
                        trial and trial.state == "saved" and card.names & {*trial.names}
                    ),
                }
            )
        return {
            "cards": cards,
            "trial": (
                {"state": trial.state, "words": _describe_trial(trial, stored)} if trial else None
            ),
            "since": since.timestamp() if since else None,
            "page_url": self._settings.ponte_web_url or "",
            "can_apply": self._restart is not None,
            "people": await self._show_people(stored),
        }

    async def run(self, step: str, arguments: Json, actor: Person) -> Any:
        """Call the method `step`, one of those that the operation `setup step` allows. Methods that
        store something also get the `actor`, for the audit log."""
        actor_values = {"actor": actor} if step in STORING_STEPS else {}
        try:
            return await validate_call(getattr(self, step))(**arguments, **actor_values)
        except ValidationError:
            raise NotFound(what=step) from None
        except (BadInput, HomeUnusable) as error:  # HomeUnusable: as on a full disk
            raise BadInput("{why}", why=_name_fields(error.words())) from None

    async def draft(self, card: str, values: Mapping[str, str], earlier: str = "") -> str:
        """Keep what the owner typed on a card in memory, and return the draft's id. The page never
        gets a secret back, so an empty secret field means the secret of the earlier draft, or the
        stored one if there was none. Raises BadInput, NotFound.

        Whoever changes the address of a service types its secrets again, so that none is sent to an
        address that its owner has not seen.
        """
        own = self._find_card(card)
        if why := self._why_locked(own):
            raise BadInput("{why}", why=why)
        typed = {
            field.setting: check_value(field.setting.upper(), values.get(field.setting, ""))
            for field in own.fields
        }
        # Secrets are kept only if every other setting of the service is as it was. `service_of` has
        # the names of the settings with the service's address and secrets; other fields of the card
        # may change. `kept` are the values with which the secrets belong.
        service = service_of(card)
        hidden = [field for field in own.fields if field.is_secret]
        shown = [field for field in own.fields if field.setting in service and not field.is_secret]
        kept = {name.lower(): value for name, value in self._stored.read().items()}
        if earlier and not all(typed[each.setting] for each in hidden):
            # The form sends no secret again: an empty one was typed in the earlier draft. The
            # stored one would be another.
            kept = self._find_draft(earlier, card).values
        if any(typed[each.setting] != kept.get(each.setting, "") for each in shown):
            for each in hidden:
                if kept.get(each.setting) and not typed[each.setting]:
                    raise BadInput(
                        "Type “{label}” again, because “{changed}” has changed.",
                        label=say(each.words),
                        changed=say(shown[0].words),
                    )
            kept = {}  # the stored secrets belong to other values
        for each in hidden:
            typed[each.setting] = typed[each.setting] or kept.get(each.setting, "")
            mask_also(typed[each.setting], is_typed=True)  # in logs and errors from now on
        now = self._clock()
        self._drafts = {k: v for k, v in self._drafts.items() if v.until > now}
        # The oldest go: a dict keeps the order of insertion.
        while len(self._drafts) >= MAX_DRAFTS:
            self._drafts.pop(next(iter(self._drafts)))
        id = secrets.token_urlsafe(12)
        # Choices that a check of the earlier draft found at the service, such as names of models,
        # are still offered on this card.
        before = self._drafts.get(earlier)
        choices = before.choices if before and before.card == card else {}
        self._drafts[id] = SetupDraft(card, typed, now + DRAFT_SECONDS, choices)
        return id

    async def show_draft(self, draft: str) -> Json:
        """Return a draft with what its check found. Of a secret, it has only the last characters
        (`endings`). Raises NotFound."""
        own = self._find_draft(draft)
        fields = CARDS[own.card].fields
        return {
            "card": own.card,
            "values": {f.setting: own.values[f.setting] for f in fields if not f.is_secret},
            "endings": {f.setting: _ending(own.values[f.setting]) for f in fields if f.is_secret},
            "choices": own.choices,
            "findings": [
                asdict(finding) | {"words": _name_fields(finding.words)} for finding in own.findings
            ],
        }

    async def check(self, draft: str) -> None:
        """Check a draft against the live service; `show_draft` then has the findings, and the
        values that its settings can have, such as names of models. Raises BadInput, NotFound."""
        # Loaded only here.
        from bot.doctor.checks import check_integration
        from bot.doctor.safety import describe_unpriced

        own = self._find_draft(draft)
        # Python runs without any setting; every other service needs some.
        if own.card != "code" and not any(own.values.values()):
            raise BadInput("Fill in the fields first, then check them.")
        settings = self._load(own)
        integration: Integration[Any] = next(f for f in settings.faces if f.name == own.card)
        # `Settings` has the integration's own and the shared ones.
        part = integration.summary(settings, settings)
        if part and part.state != "on":  # a setting is missing: nothing to connect to
            own.findings = [DoctorFinding(part.name, part.state, say(part.words))]
            return
        start = Start(settings, self._live.current, self._home)
        own.findings, choices = await check_integration(start, own.card)
        if own.card == "model":  # credit may have been bought
            self._board.retry_model()
        # Who has not named a model yet could not know those of the server.
        is_failing = own.findings[0].state == "failing"
        if is_failing and choices.get("ponte_model") and not own.values["ponte_model"]:
            words = say("The server responds. Choose one of its models.")
            own.findings = [DoctorFinding("model", "note", words)]
        # Without a known price, a limit of money counts only a cost that the server reports.
        elif own.card == "model" and (words := describe_unpriced(settings, start.config)):
            own.findings = [*own.findings, DoctorFinding("limits", "note", words)]
        own.choices = {name: _list_storable(name, choices[name]) for name in choices}

    async def update_app(self, draft: str, actor: Person) -> None:
        """Add to the app of the draft's service what the check of the draft found missing;
        `show_draft` then has what to do next. Raises BadInput, NotFound."""
        from bot.doctor.checks import update_app

        own = self._find_draft(draft)
        start = Start(self._load(own), self._live.current, self._home)
        shown = [finding.words for finding in own.findings]
        try:
            words = await update_app(start, own.card, shown)
        except SettingsError as error:
            raise BadInput("{words}", words=error.words()) from None
        await self._audit.write_note("setup-app-updated", actor, service=own.card)
        own.findings = [DoctorFinding(f"{own.card} app", "on", words)]

    async def save(self, draft: str, actor: Person) -> None:
        """The values take effect with `apply` or the next start. Raises BadInput, NotFound,
        HomeUnusable."""
        own = self._find_draft(draft)
        self._load(own)
        if not await self._write(self._merge(own.card, own.values), actor):
            raise BadInput("Nothing was saved, because nothing has changed. Change a value first.")
        self._drafts.pop(draft, None)

    async def remove(self, card: str, actor: Person) -> None:
        """Remove a card's stored settings, so that its service is not connected from the next start
        on. Raises NotFound, HomeUnusable."""
        self._find_card(card)
        await self._write(self._merge(card, {}), actor)

    async def undo(self, actor: Person) -> Sequence[str]:
        """Store the settings from before the last changes again, for the next start. Return the
        names of settings that change. Raises HomeUnusable."""
        if not (names := self._stored.undo()):
            return ()
        await self._audit.write_note("setup-undone", actor, settings=", ".join(names))
        return names

    async def apply(self, actor: Person) -> None:
        """Start Ponte anew with the stored settings. They are tried in another process first:
        raises BadInput if Ponte cannot start with them; then nothing changes."""
        if self._restart is None:
            raise BadInput("Only `ponte run` can restart itself. Restart Ponte manually.")
        # A second press of the button may arrive only after the restart.
        if not (trial := self._stored.trial) or trial.state != "saved":
            return
        try:
            await self._restart.probe()
        except SettingsError as error:
            raise BadInput("{words}", words=error.words()) from None
        await self._audit.write_note("setup-applied", actor)
        await self._restart.request()

    async def find_people(self, platform: str, name: str) -> Sequence[Json]:
        """Return the members of a chat platform of whom a name, the handle, the e-mail address or
        the ID contains `name`. Only people whom the platform has reported, or who have written to
        Ponte, are known."""
        people, wanted = await self._describe_people(platform), fold_to_letters(name)
        found = [
            person
            for person in people.values()
            if wanted in fold_to_letters(f"{person['name']} {person['details']}")
        ]
        return sorted(found, key=lambda person: person["name"].casefold())[:MAX_FOUND_PEOPLE]

    async def claim(self, platform: str, id: str) -> None:
        """Begin a claim that the owner of the page is this person of a chat platform. `show` then
        has the word that the owner sends from that account as a proof. Raises NotFound."""
        await self._find_person(platform, id)
        self._people.claims.begin(platform, id)

    async def grant(self, platform: str, id: str, right: SetupRight, actor: Person) -> None:
        """Store that a person may change data, or approve changes as well. Raises BadInput,
        NotFound, HomeUnusable.

        `me` is the owner's own account on a chat platform. The owner proves that it is theirs by
        sending a word from it (`claim`): a wrong click would make somebody else an admin.
        """
        await self._find_person(platform, id)
        claim = self._people.claims.find(platform)  # None after ten minutes
        if right == "me" and not (claim and claim.is_proven and claim.person == f"{platform}:{id}"):
            raise BadInput("Send the word to Ponte first, from your own account.")
        values, names = self._stored.read(), ["ponte_allow"]
        if right != "change":
            names.append("ponte_admins")
        for name in names:
            # The environment and .env override what this page stores.
            if why := self._why_set_elsewhere(name):
                raise BadInput("{why}", why=why)
            listed = self._list_people(name, values)
            if name == "ponte_admins":
                # A stored setting replaces its default, ADMINS, by which the owner of the page is
                # an admin, so the default is stored with it. `web:owner` and `web` name the same
                # account; ADMINS has the short form.
                listed = {one.removesuffix(f":{OWNER_ID}") for one in listed} | ADMINS
            values[name.upper()] = ",".join(sorted({*listed, f"{platform}:{id}"}))
        await self._write(values, actor)

    async def revoke(self, person: str, actor: Person) -> None:
        """A person of a chat platform, by their key, may no longer change data or approve. Raises
        BadInput if the lists of people are set in the environment or .env, HomeUnusable."""
        values = self._stored.read()
        for name in ("ponte_allow", "ponte_admins"):
            if why := self._why_set_elsewhere(name):
                raise BadInput("{why}", why=why)
            # Names without a colon (`web`, `*`) are no people of a chat platform.
            if person in (listed := self._list_people(name, values)) and ":" in person:
                values[name.upper()] = ",".join(sorted(listed - {person}))
        await self._write(values, actor)

    def _list_people(self, name: str, stored: Mapping[str, str]) -> set[str]:
        text = stored.get(name.upper())
        return {*getattr(self._settings, name)} if text is None else {*text.split(",")} - {""}

    async def share_sample(self, actor: Person) -> None:
        """People besides the owner may use the sample tables. Raises BadInput, HomeUnusable."""
        if why := self._why_set_elsewhere("ponte_sample"):
            raise BadInput("{why}", why=why)
        await self._write({**self._stored.read(), "PONTE_SAMPLE": "on"}, actor)

    async def _find_person(self, platform: str, id: str) -> None:
        if id not in await self._people.directory.list_people(platform):
            raise NotFound(what=f"{platform}:{id}"[:60])

    async def _describe_people(self, platform: str) -> dict[str, Json]:
        """Return the known people of a platform by key. `details` tell namesakes apart."""
        people = await self._people.directory.list_people(platform)
        return {
            (key := f"{platform}:{id}"): {
                "id": id,
                "name": member.name,
                "details": f"{member.aliases} · {key}".removeprefix(" · "),
            }
            for id, member in people.items()
        }

    async def _show_people(self, stored: Mapping[str, str]) -> Json:
        """Return who may change data and who approves, by the newest stored settings, with names
        where they are known. `granted` are the people that the page can remove (a key with a
        colon). `claims` are the owner's open claims to be a person of a platform: sending `word`
        from that account makes one `is_proven`. `locked` says why the lists can only be read. The
        sample tables exist until NocoDB is set up; `sample` is "on" if invited people may use them,
        too."""
        people = dict[str, Json]()
        for platform in CHAT_CARDS:
            people |= await self._describe_people(platform)
        names = {key: f"{person['name']} ({key})" for key, person in people.items()}
        shown: dict[str, Any] = {"granted": {}}
        for setting in ("ponte_allow", "ponte_admins"):
            keys = sorted(self._list_people(setting, stored))
            shown[setting] = [names.get(key, key) for key in keys]
            shown["granted"] |= {
                key: people.get(key, {"name": key, "details": ""}) for key in keys if ":" in key
            }
        claims = {}
        for platform in CHAT_CARDS:
            if claim := self._people.claims.find(platform):
                id = claim.person.partition(":")[2]
                claims[platform] = {
                    "id": id,
                    "name": names.get(claim.person, id),
                    "word": claim.word,
                    "is_proven": claim.is_proven,
                }
        locked = map(self._why_set_elsewhere, ("ponte_allow", "ponte_admins"))
        return {
            **shown,
            "claims": claims,
            "has_sample": not self._settings.nocodb_url,
            "sample": stored.get("PONTE_SAMPLE") or self._settings.ponte_sample or "",
            "locked": next(filter(None, locked), ""),
        }

    async def look(self) -> Sequence[Json]:
        """Return the model servers at the usual ports of this machine, for the page to suggest. A
        port at which nothing answers is no error."""
        own, found = f":{self._settings.ponte_web_port}/", []
        async with HttpClient() as http:
            for name, url in LOCAL_SERVERS:
                if own in url:  # the page itself has this port
                    continue
                try:
                    options = RequestOptions(timeout=LOOK_TIMEOUT_SECONDS)
                    await http.get_json(f"{url}/models", **options)
                except (HttpError, OSError):
                    continue
                found.append({"name": name, "address": url})
        return found

    async def _write(self, values: Mapping[str, str], actor: Person) -> Sequence[str]:
        """Store all settings, and write the names of those that changed (never their values, which
        may be secret) into the audit log."""
        if names := self._stored.write(values):
            await self._audit.write_note("setup-saved", actor, settings=", ".join(names))
        return names

    def _load(self, draft: SetupDraft) -> Settings:
        try:
            return load(self._settings.faces, self._merge(draft.card, draft.values))
        except SettingsError as error:
            raise BadInput("{words}", words=error.words()) from None

    def _merge(self, card: str, values: Mapping[str, str]) -> dict[str, str]:
        """Replace the stored settings of one card by `values`. An empty value removes the
        setting."""
        others = {k: v for k, v in self._stored.read().items() if k not in CARDS[card].names}
        return others | {name.upper(): value for name, value in values.items() if value}

    def _show_field(self, field: SetupField, stored: Mapping[str, str]) -> Json:
        """Return what the page shows of one setting, of a secret only its last characters. A value
        from the environment or .env is in force instead of the stored one; the page names its
        source, and shows it unless it is a secret."""
        source = self._settings.source(field.setting)
        elsewhere = source in ("environment", "file")
        value = stored.get(field.setting.upper(), "")
        default = type(self._settings).model_fields[field.setting].default
        if elsewhere and not field.is_secret:
            value = plain_value(getattr(self._settings, field.setting))
        return {
            "name": field.setting,
            "label": say(field.words),
            "secret": field.is_secret,
            "value": "" if field.is_secret else value,
            "ending": _ending(value) if field.is_secret else "",
            "choices": list(field.choices),
            "example": field.example or (default if isinstance(default, str) else ""),
            "source": source if elsewhere else "",
        }

    def _why_locked(self, card: SetupCard) -> str:
        """Return why a card can only be read; "" if it can be changed. It is locked if the address
        or a secret of its service is set in the environment or .env, because these must come from
        one source, or if all of its settings are."""
        names = sorted(service_of(card.name, self._settings.faces))
        reasons = [self._why_set_elsewhere(field.setting) for field in card.fields]
        of_service = next(filter(None, map(self._why_set_elsewhere, names)), "")
        return of_service or (reasons[0] if all(reasons) else "")

    def _why_set_elsewhere(self, name: str) -> str:
        """Return where a setting comes from if not from this page."""
        match self._settings.source(name):
            case "environment":
                words = "{name} is set in the environment. Change it there."
                return say(words, name=name.upper())
            case "file":
                return say("{name} is set in .env. Change it there.", name=name.upper())
        return ""

    def _find_card(self, name: str) -> SetupCard:
        if name not in CARDS:
            raise NotFound(what="card")
        return CARDS[name]

    def _find_draft(self, id: str, card: str = "") -> SetupDraft:
        draft = self._drafts.get(id)
        if draft is None or draft.until <= self._clock() or card not in ("", draft.card):
            raise BadInput(
                "The secrets that you typed have expired (they're kept for ten minutes). Type "
                "them again, then press the button again."
            )
        return draft


def _describe_trial(trial: StartTrial, stored: Mapping[str, str]) -> str:
    """Return a sentence on the newest settings, which are not in force: they wait for a restart, or
    a start with them failed."""
    titles = {name: say(card.title) for card in CARDS.values() for name in card.names}
    cards = [*dict.fromkeys(titles.get(name) or say("Access") for name in trial.names)]
    names = ", ".join(cards)
    if trial.state == "failed":
        words = (
            "Ponte didn't start with {names} ({why}). The previous settings are in effect again."
        )
        return say(words, names=names, why=_name_fields(trial.why))
    if stored.keys().isdisjoint(trial.names):
        return say("Removed: {names}. Restart Ponte to apply the change.", names=names)
    return say("Saved: {names}. Restart Ponte to apply the change.", names=names)


def _name_fields(sentence: str) -> str:
    """Replace variables by the labels of their fields."""
    for card in CARDS.values():
        for shown in card.fields:
            label = say("“{label}”", label=say(shown.words))
            sentence = re.sub(rf"\b{shown.setting.upper()}\b", label, sentence)
    return sentence


def _list_storable(name: str, values: Sequence[str]) -> Sequence[str]:
    listed = []
    for value in values[:MAX_LISTED_VALUES]:
        with suppress(BadInput):
            listed.append(check_value(name.upper(), value))
    return listed


def _ending(secret: str) -> str:
    if not secret:
        return ""
    return f"…{secret[-SHOWN_CHARACTERS:]}" if len(secret) >= MIN_SECRET_TO_SHOW else "…"
