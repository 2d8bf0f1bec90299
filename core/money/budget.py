"""Usage and allowances in the database: turns, calls that cost, and what is left of each allowance.

Before anything that costs begins, Ponte adds its upper bound to the counters of all allowances that
apply (table `holds`). The real cost replaces the bound once it is known (table `spendings`). A
counter is the sum of its spendings and its holds.

A transaction changes the counters in one order (`Budget.scopes`) and compares them with the
limits after that. So of two transactions at the same time, the second sees what the first reserved.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from typing import Any, Literal

from core.base.i18n import find_zone
from core.domain.messages import PERSON, Address, Message, MessageOrigin, Person, Usage
from core.domain.records import RoundOutput, Turn, UsageTotal
from core.money.allowances import (
    DAILY_TURNS_SETTING,
    MIN_OUTPUT_TOKENS,
    Allowance,
    AllowanceCount,
    Grant,
    ModelCall,
    OverAllowance,
    Scope,
    Spend,
    SpendingConfig,
    Unit,
    describe_remaining,
    max_item_tokens,
)
from core.money.settlement import release_call_hold, settle_call, settle_holds, settle_round
from core.money.usage import NANODOLLARS_PER_DOLLAR, PaidRun, context_window
from core.people.rules import place_names
from core.store.database import (
    Database,
    SqlConnection,
    SqlRow,
    SqlStore,
    query,
    select_value,
    select_values,
    transaction,
)
from core.store.tables import Index, TableDeclaration, count, integer, real, text

USAGE_TABLE = TableDeclaration(
    name="usage",
    whose="money",
    section="usage",
    contents="money, tokens, place and day of each turn",
    kept="for ever; nobody's once the person is forgotten",
    columns=(
        integer("seq"),
        text("day"),
        text("person"),
        text("conversation"),
        count("input"),
        count("cached"),
        count("output"),
        count("reasoning"),
        real("cost", null=True),
        text("place", default=""),
        count("is_counted", default=1),
    ),
    key=("seq",),
    indexes=(
        Index("usage_day", "day, person"),
        Index("usage_person", "person"),
        Index("usage_place", "place, person"),
    ),
)
SPENDINGS_TABLE = TableDeclaration(
    name="spendings",
    whose="money",
    section="spendings",
    contents="what each call cost",
    kept="as `usage`",
    columns=(
        integer("seq"),
        text("part"),  # the call: "r2.1" is the first attempt of round 2, "call:ID" a tool call
        text("person"),
        text("kind"),
        text("name"),
        count("input"),
        count("cached"),
        count("output"),
        count("reasoning"),
        real("cost", null=True),
        count("is_upper_bound"),  # 1: the real cost is unknown, and `cost` is its upper bound
    ),
    key=("seq", "part"),
    indexes=(Index("spendings_person", "person"),),
)
COUNTERS_TABLE = TableDeclaration(
    name="counters",
    whose="money",
    section="allowances",
    rows="person IN (:person, :one)",
    contents="what is used of an allowance",
    kept="as `usage`",
    columns=(
        text("scope"),
        text("period"),
        text("person"),
        count("turns"),
        count("tokens"),
        count("money"),
        count("notices"),
    ),
    key=("scope", "period"),
    indexes=(Index("counters_person", "person"),),
)
HOLDS_TABLE = TableDeclaration(
    name="holds",
    whose="money",
    section="reserved",
    contents="what is reserved for a call under way",
    kept="until it ends",
    columns=(
        integer("seq"),
        text("part"),
        text("person"),
        text("kind"),
        text("name"),
        text("scopes", json=True),
        integer("tokens"),
        integer("money"),
        real("created_at"),
    ),
    key=("seq", "part"),
    indexes=(Index("holds_person", "person"),),
)


DailyCapLookup = Callable[[Person, Address], Awaitable[tuple[int, int]]]
"""0 is no cap."""
IsMeant = Callable[[Person, Address, frozenset[str]], Awaitable[bool]]


ReportRow = Literal["person", "channel", "model", "tool", "day"]
_SUMS = (
    "sum({t}.input) AS input, sum({t}.cached) AS cached, sum({t}.output) AS output,"
    " sum({t}.reasoning) AS reasoning, sum({t}.cost) AS cost"
)


ADD_USAGE_SQL = (
    "INSERT INTO usage (seq, day, person, conversation, place)"
    " SELECT :seq, :day, :payer, :conversation, :place FROM now WHERE {condition}"
    " ON CONFLICT (seq) DO NOTHING"
)
"""A turn that begins again after a crash has its row, so it is not counted again."""


@dataclass
class SqlReservation:
    """A transaction step that counts a turn and reserves the cost of its first model call. It runs
    in the transaction that stores the user's message in the thread, so neither is stored without
    the other. If that transaction runs again, `grant` and `counts` are those of the last run."""

    values: Mapping[str, object]
    """Those of ADD_USAGE_SQL."""
    work: Callable[[SqlConnection, bool], tuple[tuple[AllowanceCount, ...], Grant | None]]
    grant: Grant | None = None
    """None if no allowance bounds the call."""
    counts: tuple[AllowanceCount, ...] = ()
    """Empty if the turn was counted before."""

    def __call__(self, connection: SqlConnection, is_new: bool | None = None) -> None:
        """`is_new`: ADD_USAGE_SQL has added the turn's row in this transaction. None: it did not
        run."""
        if is_new is None:
            add = ADD_USAGE_SQL.format(condition="1 = 1")
            row = connection.run_steps("SELECT 1 AS one", [add], self.values)
            is_new = bool(row and row["changed"])
        self.counts, self.grant = self.work(connection, is_new)


class Budget(SqlStore):
    """Counts turns, and reserves the highest possible cost of each call before it is made. The
    journal of turns replaces a reservation with the real cost when it stores the call's result."""

    def __init__(
        self,
        database: Database,
        config: SpendingConfig,
        caps: DailyCapLookup,
        zone: tzinfo,
        money_key: Callable[[str], str] = str,
        *,
        is_meant: IsMeant,
    ) -> None:
        super().__init__(database)
        self._caps = caps
        self._money_key = money_key  # `str` keeps the key: each account counts by itself
        self._is_meant = is_meant  # whether names of ponte.toml include a person
        self.zone = zone
        self.config = config

    @property
    def bounds_calls(self) -> bool:
        return any(rule.bounds_calls for rule in self.config.turn_allowances)

    async def reserve(self, turn: Turn) -> None:
        """Count the turn only once however often it resumes after a crash. Raise OverBudget if a
        limit is reached."""
        await self._database.write(await self.make_reservation(turn))

    async def make_reservation(self, turn: Turn, call: ModelCall | None = None) -> SqlReservation:
        """The step counts the turn and reserves its first model call (`call`), whose Grant it
        returns. It raises OverBudget."""
        scopes = await self._scopes_of(turn.message)  # the counters that apply to it
        zone, day = self.zone_of(turn.message), self._today()
        # All accounts of a person are counted under one key.
        person, address = self._money_key(turn.message.author.key), turn.message.address

        def work(
            connection: SqlConnection, is_new: bool
        ) -> tuple[tuple[AllowanceCount, ...], Grant | None]:
            counts = list[AllowanceCount]()
            if is_new:
                # A new counter begins with the usage so far; without the row that was inserted
                # above, because `Spend(1)` adds this turn.
                counts = _add_to_counters(connection, scopes, day, Spend(1), without=turn.seq)
                self._check_limits(counts, Spend(1), zone)
            if call is None:
                return tuple(counts), None
            return tuple(counts), self._reserve_call(connection, turn, person, scopes, call, zone)

        # The last of the place names is the channel.
        values = {"seq": turn.seq, "day": day, "payer": person, "place": place_names(address)[-1]}
        return SqlReservation({**values, "conversation": address.conversation}, work)

    async def reserve_model_call(self, turn: Turn, call: ModelCall) -> Grant | None:
        """The call gets less output than it asks for if little is left. Return None if no allowance
        limits money or tokens. Raise OverBudget if not even a short answer fits."""
        scopes = _bounding_scopes(await self._scopes_of(turn.message))
        if not scopes:
            return None
        zone, person = self.zone_of(turn.message), self._money_key(turn.message.author.key)
        return await self._database.write(
            lambda c: self._reserve_call(c, turn, person, scopes, call, zone)
        )

    async def reserve_run(self, turn: Turn, call_id: str, paid: PaidRun) -> None:
        """A call that is repeated after a crash is reserved once. Raise OverBudget."""
        message = turn.message
        zone = self.zone_of(message)
        if scopes := _bounding_scopes(await self._scopes_of(message)):
            await self._reserve_run(message.author, scopes, turn.seq, call_id, paid, zone)

    async def reserve_approved_run(
        self, person: Person, address: Address, seq: int, call_id: str, paid: PaidRun
    ) -> None:
        """Reserve a run that somebody approved in the event `seq`, such as a quick command.
        `person` is the one who asked for the run, and in whose allowances it counts. Nothing is
        reserved if none of these limits tokens or money. Raise OverBudget."""
        payer, day, place = self._money_key(person.key), self._today(), place_names(address)[-1]
        # The reservation takes its day from this row. `is_counted` is 0, so that it adds no turn to
        # the reports.
        sql = (
            "INSERT INTO usage (seq, day, person, conversation, place, is_counted)"
            " VALUES (?, ?, ?, ?, ?, 0) ON CONFLICT (seq) DO NOTHING"
        )
        await self._execute(sql, seq, day, payer, address.conversation, place)
        # The person's own time zone is not known here, so a refusal tells its time in `self.zone`.
        if scopes := _bounding_scopes(await self.scopes(person, address)):
            await self._reserve_run(person, scopes, seq, call_id, paid, self.zone)

    async def settle_run(self, seq: int, call_id: str, paid: PaidRun, begun: bool) -> None:
        """Record the price of a run that includes no model call, such as a quick command. If the
        run was not begun, release its reservation instead. A run without a known price costs
        nothing that could be counted."""
        if not begun:
            await self._database.write(lambda c: release_call_hold(c, seq, f"call:{call_id}"))
        elif (price := self.config.price_list.run_cost(paid)) is not None:
            await self._database.write(
                lambda c: settle_call(c, seq, call_id, paid.report_name, Usage(cost=price))
            )

    @transaction
    def _reserve_run(
        self,
        connection: SqlConnection,
        asker: Person,
        scopes: Sequence[Scope],
        seq: int,
        call_id: str,
        paid: PaidRun,
        zone: tzinfo,
    ) -> None:
        """Reserve the upper bound of a run: its own price, and that of the model call that it may
        include. Do nothing if this call has a reservation or a cost already: a turn that resumes
        after a crash makes the call again. Raise OverAllowance."""
        part, person = f"call:{call_id}", self._money_key(asker.key)
        if connection.execute(
            "SELECT 1 FROM holds WHERE seq = :seq AND part = :part UNION ALL"
            " SELECT 1 FROM spendings WHERE seq = :seq AND part = :part LIMIT 1",
            {"seq": seq, "part": part},
        ).fetchone():
            return
        prices, tokens = self.config.price_list.of_server(paid), paid.input + paid.output
        price = prices.find(paid.model)
        money = price.max_cost(paid.input, paid.output) if price and tokens else 0
        # None: the cost of a run is unknown, and counts as 0.
        money += round((prices.run_cost(paid) or 0.0) * NANODOLLARS_PER_DOLLAR)
        bound = Spend(0, tokens, money)
        counts = _add_to_counters(connection, scopes, _day_of(connection, seq), bound)
        self._check_limits(counts, bound, zone)
        _insert_hold(connection, seq, part, person, "tool", paid.report_name, counts, bound)

    async def release(self, turn: Turn, part: str) -> None:
        """`part` names the call within the turn, as in the table `holds`."""
        await self._database.write(lambda c: release_call_hold(c, turn.seq, part))

    @transaction
    def settle_model_call(
        self, connection: SqlConnection, turn: Turn, number: int, model: str, usage: Usage
    ) -> None:
        """The journal settles the calls of rounds itself: this is the call that writes a title."""
        settle_round(connection, turn.seq, RoundOutput(number, (), usage, model))

    @transaction
    def settle_ended_turns(self, connection: SqlConnection) -> int:
        """Settle reservations that a crash left behind. Turns that are answered, ended or deleted
        make no more calls. The real usage is unknown, so reservations count with their upper
        bounds."""
        open_turns = connection.execute(
            "SELECT DISTINCT seq FROM holds WHERE NOT EXISTS (SELECT 1 FROM inbox"
            " WHERE inbox.seq = holds.seq AND state IN ('new', 'running')) ORDER BY seq"
        ).fetchall()
        return sum(settle_holds(connection, row["seq"]) for row in open_turns)

    @transaction
    def claim_notice(self, connection: SqlConnection, count: AllowanceCount, bit: int) -> bool:
        """`bit` is the kind of notice (PERSON_NOTICE, ADMIN_NOTICE). Of all processes, only the
        first caller in a period gets True, and must send the notice."""
        # The UPDATE tests the bit itself, so only one of several callers changes the row.
        return bool(
            connection.execute(
                "UPDATE counters SET notices = notices + ? WHERE scope = ? AND period = ?"
                " AND (notices & ?) = 0",
                (bit, count.scope.key, count.period, bit),
            ).rowcount
        )

    @query
    def usage_today(
        self, connection: SqlConnection, person: str | None = None, place: str = ""
    ) -> UsageTotal:
        """Return the usage of one person (a key) or of all, and how many of its calls have
        estimated costs."""
        # An empty text selects everything.
        there = (
            "day = :day AND (:person = '' OR usage.person = :person)"
            " AND (:place = '' OR place = :place)"
        )
        # All keys of one human are counted under one of them.
        payer = "" if person is None else self._money_key(person)
        values = {"day": self._today(), "person": payer, "place": place}
        row = connection.execute(
            f"SELECT sum(is_counted) AS turns, {_SUMS.format(t='usage')} FROM usage WHERE {there}",  # noqa: S608
            values,
        ).fetchone()
        # Calls whose real cost never became known.
        unsettled = connection.execute(
            "SELECT count(*) AS n FROM usage JOIN spendings ON spendings.seq = usage.seq"  # noqa: S608
            f" WHERE is_upper_bound = 1 AND {there}",
            values,
        ).fetchone()
        usage = Usage(
            input=int(row["input"] or 0),
            cached=int(row["cached"] or 0),
            output=int(row["output"] or 0),
            reasoning=int(row["reasoning"] or 0),
            cost=row["cost"],
        )
        return UsageTotal(int(row["turns"] or 0), usage, int(unsettled["n"]))

    async def list_counts(self, person: Person, address: Address) -> Sequence[AllowanceCount]:
        """Reservations are included."""
        scopes, day = await self.scopes(person, address), self._today()
        return await self._database.read(
            lambda c: [_read_count(c, scope, scope.period_of(day)) for scope in scopes]
        )

    async def check_turn(self, person: Person, address: Address) -> None:
        counts = await self.list_counts(person, address)
        after = [replace(count, spent=count.spent + Spend(1)) for count in counts]
        self._check_limits(after, Spend(1), self.zone)

    async def describe_remaining(
        self, person: Person, address: Address, zone: tzinfo
    ) -> Sequence[str]:
        """`zone` is the person's; periods begin in `self.zone`."""
        return [
            describe_remaining(count, unit, zone, self.zone)
            for count in await self.list_counts(person, address)
            for unit, _ in count.scope.allowance.limits()
        ]

    async def list_counters(self, person: Person, address: Address) -> Sequence[AllowanceCount]:
        """Return the state of the allowances for an operator: first those that apply to the person
        at that address, then all others that were used in the current day or month.

        A counter's key is "ALLOWANCE:PERSON" or "ALLOWANCE:PLACE". Counters of allowances that
        ponte.toml no longer has are left out.
        """
        first, day = await self.list_counts(person, address), self._today()
        scope_keys, others = {count.scope.key for count in first}, list[AllowanceCount]()
        sql = (
            "SELECT scope, period, turns, tokens, money, notices FROM counters"
            " WHERE period IN (?, ?) ORDER BY scope"
        )
        for row in await self._database.read(lambda c: c.execute(sql, (day, day[:7])).fetchall()):
            # `counted` is the key of the person or the place, "" for a counter of everybody.
            rule, _, counted = str(row["scope"]).partition(":")
            for allowance in self.config.turn_allowances:
                payer = counted if allowance.of == "each person" else ""
                scope = Scope(row["scope"], allowance, payer, "" if payer else counted)
                # Of another allowance, or listed first already.
                if allowance.key != rule or scope.key in scope_keys:
                    continue
                # An allowance with a name keeps its key if it is changed from days to months. Then
                # the row of the other period does not count.
                if scope.period_of(day) == row["period"]:
                    others.append(_count_of(scope, row["period"], row))
                    break
        return [*first, *others]

    @query
    def report(
        self, connection: SqlConnection, by: ReportRow, since: str = "", place: str = ""
    ) -> Sequence[Mapping[str, Any]]:
        """Return the usage since that day (ISO; "" for today), one mapping for each person,
        channel, model, tool or day.

        The keys are `name`, `turns`, `calls`, `input`, `cached`, `output`, `reasoning`, `cost` and
        `estimated`. `turns` is None by model and tool, `calls` by person, channel and day. `cost`
        is in US dollars, None if no price is known. `estimated` counts calls whose amounts are
        estimates.

        The most expensive come first; days are in order. With `place`, return only the usage there.
        """
        if by in ("model", "tool"):
            sql = (
                "SELECT spendings.name AS name, NULL AS turns, count(*) AS calls,"  # noqa: S608
                f" sum(is_upper_bound) AS estimated, {_SUMS.format(t='spendings')} FROM spendings"
                " JOIN usage ON usage.seq = spendings.seq"
                " WHERE usage.day >= :since AND spendings.kind = :kind"
                " AND (:place = '' OR usage.place = :place) GROUP BY spendings.name"
            )
        else:
            # A place without a workspace is a direct message, or one of many conversations of the
            # page or the terminal, as `web::ID`. Direct messages count for the person; all of the
            # page or the terminal are one line, without the id. The inner `rtrim` removes from the
            # end whatever is no colon, which is the id, and the outer one the colons.
            column = "CASE WHEN place LIKE 'web::%' OR place LIKE 'terminal::%' THEN"
            column += " rtrim(rtrim(place, replace(place, ':', '')), ':')"
            column += " WHEN place LIKE '%::%' THEN person ELSE place END"
            column = {"person": "person", "channel": column, "day": "day"}[by]
            sql = (
                f"SELECT {column} AS name, sum(is_counted) AS turns, NULL AS calls,"  # noqa: S608
                " sum((SELECT sum(is_upper_bound) FROM spendings WHERE spendings.seq = usage.seq))"
                " AS estimated,"
                f" {_SUMS.format(t='usage')} FROM usage WHERE day >= :since"
                f" AND (:place = '' OR place = :place) GROUP BY {column}"
            )
        rows = connection.execute(
            sql, {"since": since or self._today(), "kind": by, "place": place}
        ).fetchall()
        report_rows = [
            {
                "name": str(row["name"]),
                **{
                    k: None if row[k] is None else int(row[k])
                    for k in ("turns", "calls", "input", "cached", "output", "reasoning")
                },
                "cost": None if row["cost"] is None else float(row["cost"]),
                "estimated": int(row["estimated"] or 0),
            }
            for row in rows
        ]
        if by == "day":
            return sorted(report_rows, key=lambda row: str(row["name"]))
        return sorted(
            report_rows, key=lambda row: (-(row["cost"] or 0.0), -(row["input"] or 0), row["name"])
        )

    @query
    def models_without_price(
        self, connection: SqlConnection, since: str = ""
    ) -> tuple[Sequence[str], Sequence[str]]:
        """Return two lists of models: those whose calls have a cost all the same, which the server
        named or an earlier price gave, and those whose calls have none. `since` is ISO; "" for
        today."""
        # `input > 0` leaves out calls without counted tokens, such as those of the demo model.
        sql = (
            "SELECT DISTINCT name, spendings.cost IS NULL AS is_unpriced FROM spendings"
            " JOIN usage ON usage.seq = spendings.seq"
            " WHERE usage.day >= ? AND kind = 'model' AND spendings.input > 0 ORDER BY name"
        )
        costed, unpriced = list[str](), list[str]()
        for row in connection.execute(sql, (since or self._today(),)).fetchall():
            if not self.config.price_list.find(row["name"]):
                (unpriced if row["is_unpriced"] else costed).append(row["name"])
        return costed, unpriced

    async def _scopes_of(self, message: Message) -> tuple[Scope, ...]:
        return await self.scopes(message.author, message.address, message.origin)

    async def scopes(
        self, person: Person, address: Address, origin: MessageOrigin = PERSON
    ) -> tuple[Scope, ...]:
        """Return the counters that apply to the person at that address, in the order in which
        transactions lock them: one for each allowance of ponte.toml that names the person and the
        place, and two for the daily caps of messages. Those two exist without a cap as well: a cap
        may hold for some people only, and the counter of everybody counts all of them."""
        # All accounts of one person count together. `place` is platform, workspace and channel.
        payer, place = self._money_key(person.key), place_names(address)
        # The daily messages of one person and of all people together; 0 for no cap: then the
        # counter counts, and refuses nothing.
        cap, all_ = await self._caps(person, address)
        capped = Allowance("each person", turns=cap or None, source=DAILY_TURNS_SETTING, name="cap")
        together = Allowance(
            "everybody", turns=all_ or None, source=DAILY_TURNS_SETTING, name="cap"
        )
        scopes = {s.key: s for s in (Scope(f"cap:{payer}", capped, payer), Scope("cap", together))}
        for rule in self.config.turn_allowances:
            if rule.where and rule.where.isdisjoint(place):
                continue
            if rule.who and not await self._is_meant(person, address, rule.who):
                continue
            match rule.of:
                case "each person":
                    scope = Scope(f"{rule.key}:{payer}", rule, payer)
                case "each channel":
                    scope = Scope(f"{rule.key}:{place[-1]}", rule, place=place[-1])
                case "each schedule":
                    # Only messages of schedules have an origin of the name "schedule", and `id` is
                    # then the schedule's.
                    if rule.of != f"each {origin.name}":
                        continue
                    scope = Scope(f"{rule.key}:{origin.id}", rule, place=origin.id)
                case "each workspace":
                    scope = Scope(f"{rule.key}:{place[1]}", rule, place=place[1])
                case _:
                    scope = Scope(rule.key, rule)
            # Past usage is stored without the groups of its people, so it cannot be counted here.
            if rule.who and rule.of != "each person":
                scope = replace(scope, counts_past_usage=False)
            if same := scopes.get(scope.key):  # two allowances that count the same thing
                scope = replace(scope, allowance=rule.merge_stricter(same.allowance))
            scopes[scope.key] = scope
        # Sorted, so that all transactions lock the counters' rows in one order. Rows that many
        # people share come last, because a row stays locked until the commit.
        return tuple(sorted(scopes.values(), key=lambda scope: (not scope.person, scope.key)))

    def zone_of(self, message: Message) -> tzinfo:
        return find_zone(message.time_zone) or self.zone

    def model_call(self, number: int, model: str, prompt_bytes: int) -> ModelCall:
        """`number` is the round, `prompt_bytes` the size of the prompt beside the thread."""
        price, window = self.config.price_list.find(model), context_window(model)
        return ModelCall(number, model, prompt_bytes, price=price, window=window)

    def _today(self) -> str:
        return datetime.fromtimestamp(time.time(), self.zone).date().isoformat()

    def _reserve_call(
        self,
        connection: SqlConnection,
        turn: Turn,
        person: str,
        scopes: Sequence[Scope],
        call: ModelCall,
        zone: tzinfo,
    ) -> Grant | None:
        """Reserve a call with its `max_output`, or with fewer tokens if an allowance has less left.
        Return None if no allowance limits tokens or money. Raise OverAllowance if fewer than
        MIN_OUTPUT_TOKENS are left.

        The full amount is added to the counters first, which locks their rows, and is lowered in
        the same transaction if it exceeds a limit."""
        scopes = _bounding_scopes(scopes)
        if not scopes:
            return None
        # The call reads the transcript of its thread, or only the items of its own turn.
        sql = "SELECT item FROM items WHERE thread = ? AND is_replaced = 0"
        values: list[object] = [turn.thread]
        if not turn.message.origin.reads_history:
            sql, values = f"{sql} AND seq = ?", [turn.thread, turn.seq]
        item_tokens = sum(map(max_item_tokens, select_values(connection, sql, *values)))
        input, output = call.max_input_tokens(item_tokens), call.max_output
        bound, day = call.max_spend(input, output), _day_of(connection, turn.seq)
        counts = _add_to_counters(connection, scopes, day, bound)
        if any(count.scope.allowance.exceeded_unit(count.spent) for count in counts):
            # A full answer does not fit. Reserve one with the output that is left.
            before = [(count, count.spent - bound) for count in counts]
            # The smallest of what the allowances have left.
            output = min(
                call.remaining_output_tokens(c.scope.allowance, spent, input) for c, spent in before
            )
            least = min(MIN_OUTPUT_TOKENS, call.max_output)
            lower = call.max_spend(input, max(output, least))
            counts = _add_to_counters(connection, scopes, day, lower - bound)
            bound = lower
            # With less than a useful answer left, this raises OverAllowance.
            self._check_limits(counts, bound, zone)
        # Each attempt of a round has a part of its own: an earlier one may be paid for, too.
        rows = connection.execute(
            "SELECT part FROM holds WHERE seq = :seq UNION ALL"
            " SELECT part FROM spendings WHERE seq = :seq",
            {"seq": turn.seq},
        )
        parts = [str(row["part"]).partition(".") for row in rows]
        attempts = [int(attempt) for name, _, attempt in parts if name == f"r{call.number}"]
        part = f"r{call.number}.{max(attempts, default=0) + 1}"
        _insert_hold(connection, turn.seq, part, person, "model", call.model, counts, bound)
        return Grant(part, input, output, bound, output < call.max_output, tuple(counts))

    def _check_limits(self, counts: Iterable[AllowanceCount], bound: Spend, zone: tzinfo) -> None:
        """A count over its limit undoes the caller's transaction. The counts already include
        `bound`, the amount that is being reserved. `zone` is the asker's, for the message;
        `self.zone` the operators', in which periods begin."""
        for allowance_count in counts:
            allowance = allowance_count.scope.allowance
            unit: Unit | None = allowance.exceeded_unit(allowance_count.spent)
            if unit is not None:
                before: int = getattr(allowance_count.spent, unit) - getattr(bound, unit)
                raise OverAllowance(
                    allowance_count, unit, getattr(allowance, unit) - before, zone, self.zone
                )


def _bounding_scopes(scopes: Sequence[Scope]) -> list[Scope]:
    return [scope for scope in scopes if scope.allowance.bounds_calls]


def _day_of(connection: SqlConnection, seq: int) -> str:
    # All that the turn uses counts on the day it began, also after midnight.
    return str(select_value(connection, "SELECT day FROM usage WHERE seq = ?", seq))


def _add_to_counters(
    connection: SqlConnection, scopes: Sequence[Scope], day: str, spend: Spend, without: int = 0
) -> list[AllowanceCount]:
    """A new counter begins with earlier usage, except that of the turn `without`, which `spend`
    itself counts."""
    counters = [(scope.key, scope.period_of(day)) for scope in scopes]
    amounts = (spend.turns, spend.tokens, spend.money)
    rows = list(connection.add_to_counters(counters, *amounts))
    while len(rows) < len(counters):  # the next counter has no row yet in its period
        scope, (key, period) = scopes[len(rows)], counters[len(rows)]
        past = _past_spend(connection, scope, period, without)
        # Another transaction may insert the row first. Then only the update below adds.
        connection.execute(
            "INSERT INTO counters (scope, period, person, turns, tokens, money)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (scope, period) DO NOTHING",
            (key, period, scope.person, past.turns, past.tokens, past.money),
        )
        rows += connection.add_to_counters(counters[len(rows) :], *amounts)
    periods = (period for _, period in counters)
    return [_count_of(*one) for one in zip(scopes, periods, rows, strict=True)]


def _count_of(scope: Scope, period: str, row: SqlRow) -> AllowanceCount:
    spent = Spend(int(row["turns"]), int(row["tokens"]), int(row["money"]))
    return AllowanceCount(scope, period, spent, int(row["notices"]))


def _read_count(connection: SqlConnection, scope: Scope, period: str) -> AllowanceCount:
    row = connection.execute(
        "SELECT turns, tokens, money, notices FROM counters WHERE scope = ? AND period = ?",
        (scope.key, period),
    ).fetchone()
    if row is not None:
        return _count_of(scope, period, row)
    return AllowanceCount(scope, period, _past_spend(connection, scope, period))


def _past_spend(connection: SqlConnection, scope: Scope, period: str, without: int = 0) -> Spend:
    """Return what was spent in that period before the allowance had a counter, except by the turn
    `without` (0 for none), which the caller adds itself. An operator can add an allowance in the
    middle of a month, and its first count begins with what the month has cost so far. Without
    `counts_past_usage` it begins at 0: the table `usage` does not tell which groups a person had.
    """
    if not scope.counts_past_usage:
        return Spend()
    # Days are compared as texts, so "-31" is the end of every month.
    month = len(period) == len("2026-11")
    rows = connection.execute(
        "SELECT place, sum(is_counted) AS turns, sum(input + output) AS tokens, sum(cost) AS cost"
        " FROM usage WHERE day >= :first AND day <= :last AND (:person = '' OR person = :person)"
        " AND seq <> :without GROUP BY place",
        {
            "first": f"{period}-01" if month else period,
            "last": f"{period}-31" if month else period,
            "person": scope.person,
            "without": without,
        },
    )
    past = Spend()
    for row in rows:
        # A rule can name the platform, the workspace or the channel.
        parts = str(row["place"]).split(":", 2)
        names = {":".join(parts[:length]) for length in (1, 2, 3)}
        where = scope.allowance.where
        if (where and where.isdisjoint(names)) or (scope.place and scope.place not in names):
            continue
        money = round(float(row["cost"] or 0) * NANODOLLARS_PER_DOLLAR)
        past += Spend(int(row["turns"]), int(row["tokens"]), money)
    return past


def _insert_hold(
    connection: SqlConnection,
    seq: int,
    part: str,
    person: str,
    kind: str,
    name: str,
    counts: Iterable[AllowanceCount],
    bound: Spend,
) -> None:
    """Store a reservation of one call: its upper bound (`bound`), and the counters to which this
    was added, so that they can be corrected when the real cost is known. `part` names the call
    within the turn `seq`; `kind` and `name` are the call's in reports; `person` is who pays."""
    scopes = json.dumps([[count.scope.key, count.period] for count in counts])
    connection.execute(
        "INSERT INTO holds (seq, part, person, kind, name, scopes, tokens, money, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (seq, part, person, kind, name, scopes, bound.tokens, bound.money, time.time()),
    )
