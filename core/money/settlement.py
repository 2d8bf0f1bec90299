"""The real cost replaces what was held for it, in its caller's transaction."""

from __future__ import annotations

import json

from core.domain.messages import Usage
from core.domain.records import RoundOutput
from core.money.allowances import Spend
from core.money.usage import NANODOLLARS_PER_DOLLAR
from core.store.database import SqlConnection, SqlRow

SPENDING_STEPS = (
    "INSERT INTO spendings (seq, part, person, kind, name, input, cached, output, reasoning, cost,"
    " is_upper_bound) SELECT usage.seq, :part, usage.person, :kind, :spender, :input, :cached,"
    " :output, :reasoning, :cost, :is_estimated FROM usage, previous, now"
    " WHERE usage.seq = :seq AND NOT now.has_holds ON CONFLICT (seq, part) DO NOTHING",
    # A part is recorded once, so the totals grow only with a new row. In SQL, a sum with an unknown
    # cost (NULL) is unknown; `coalesce` then takes whichever of the two is known.
    "UPDATE usage SET input = input + :input, cached = cached + :cached, output = output + :output,"
    " reasoning = reasoning + :reasoning, cost = coalesce(cost + :cost, cost, :cost)"
    " FROM previous WHERE seq = :seq",
)
"""Record what a call of the turn `:seq` used (`spending_values`), once. With `now.has_holds`, do
nothing: reservations must be replaced first."""


def spending_values(part: str, kind: str, name: str, usage: Usage) -> dict[str, object]:
    """`part` names the call within the turn: "r2.0" is a call of round 2 that reserved nothing."""
    values = {field: getattr(usage, field) for field in Usage.__slots__}
    return {**values, "part": part, "kind": kind, "spender": name}


def settle_round(connection: SqlConnection, seq: int, output: RoundOutput) -> None:
    """Replace the reservation of a round's last call with what the round really used. Earlier calls
    of the round were interrupted, for example by a crash, and their usage is not known, so they
    count with their upper bounds. A call without one is recorded as attempt 0."""
    # A reservation for a model call has the name `r{round}.{attempt}` in `part`.
    prefix, holds = f"r{output.number}.", _read_holds(connection, seq)
    round_holds = [hold for hold in holds if hold["part"].startswith(prefix)]
    round_holds.sort(key=lambda hold: int(hold["part"].partition(".")[2]))
    for lost_hold in round_holds[:-1]:
        _settle_as_estimate(connection, lost_hold)
    last = round_holds[-1] if round_holds else None
    part = last["part"] if last else f"{prefix}0"
    _settle(connection, seq, part, last, "model", output.model, output.usage)


def settle_call(connection: SqlConnection, seq: int, call_id: str, name: str, usage: Usage) -> None:
    """This is a part of the transaction that stores the call's result."""
    part = f"call:{call_id}"
    hold = next((hold for hold in _read_holds(connection, seq) if hold["part"] == part), None)
    # A tool that has no price and reserved nothing leaves no row.
    if hold is not None or usage != Usage():
        _settle(connection, seq, part, hold, "tool", name, usage)


def count_estimates(connection: SqlConnection, since: str) -> tuple[int, int]:
    """Return how many calls were paid for since that day (ISO), and how many of them have estimated
    amounts."""
    row = connection.execute(
        "SELECT count(*) AS calls, sum(is_upper_bound) AS estimates FROM usage"
        " JOIN spendings ON spendings.seq = usage.seq WHERE usage.day >= ?",
        (since,),
    ).fetchone()
    return int(row["calls"]), int(row["estimates"] or 0)


def settle_holds(connection: SqlConnection, seq: int) -> int:
    """The turn is over: calls that were lost may have been made, so each counts with its upper
    bound."""
    open_holds = _read_holds(connection, seq)
    for hold in open_holds:
        _settle_as_estimate(connection, hold)
    return len(open_holds)


def _read_holds(connection: SqlConnection, seq: int) -> list[SqlRow]:
    return connection.execute("SELECT * FROM holds WHERE seq = ? ORDER BY part", (seq,)).fetchall()


def release_call_hold(connection: SqlConnection, seq: int, part: str) -> None:
    for hold in _read_holds(connection, seq):
        if hold["part"] == part:
            _release_hold(connection, hold, Spend())


def _release_hold(connection: SqlConnection, hold: SqlRow, real: Spend) -> None:
    sql = "DELETE FROM holds WHERE seq = ? AND part = ?"
    if not connection.execute(sql, (hold["seq"], hold["part"])).rowcount:
        return  # another transaction settled it meanwhile
    # The counters still have the reserved amounts. The difference is negative if the call cost less
    # than its upper bound, as most do.
    extra = real - Spend(0, int(hold["tokens"]), int(hold["money"]))
    if extra != Spend():
        counters, amounts = json.loads(hold["scopes"]), (extra.turns, extra.tokens, extra.money)
        while counters:
            added = connection.add_to_counters(counters, *amounts)
            counters = counters[len(added) + 1 :]  # a counter without a row was erased


def _settle_as_estimate(connection: SqlConnection, hold: SqlRow) -> None:
    # The call may have been made, and its real usage is unknown.
    kind, name, unknown = hold["kind"], hold["name"], Usage(is_estimated=True)
    _settle(connection, hold["seq"], hold["part"], hold, kind, name, unknown)


def _settle(
    connection: SqlConnection,
    seq: int,
    part: str,
    hold: SqlRow | None,
    kind: str,
    name: str,
    usage: Usage,
) -> None:
    """Record what a call used (`usage`), and replace its reservation (`hold`, None if it has none)
    in the counters. If the usage is an estimate, record the amounts of the reservation instead."""
    # The reservation is an upper bound, so an unknown amount never counts too little. A cost that
    # the server named counts if it is higher.
    if hold is not None and usage.is_estimated:
        cost = max(hold["money"] / NANODOLLARS_PER_DOLLAR, usage.cost or 0.0)
        # A reservation has one number of tokens, which counts as input here. If its money is 0,
        # there may be no price, so the cost is recorded as unknown (None).
        usage = Usage(input=int(hold["tokens"]), cost=cost or None, is_estimated=True)
    real = Spend(0, usage.input + usage.output, round((usage.cost or 0.0) * NANODOLLARS_PER_DOLLAR))
    if hold is not None:
        _release_hold(connection, hold, real)
    values = spending_values(part, kind, name, usage)
    connection.run_steps("SELECT 1 = 0 AS has_holds", SPENDING_STEPS, {**values, "seq": seq})
