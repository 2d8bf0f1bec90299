"""SQL of a shared database (Postgres) that does in one statement what takes several on SQLite.

A statement costs a process and the server more than the work in it, so a plain turn sends few.
The statements here lock the turn's conversation in `ponte_current_turn`, which returns the turn as
it is once the lock is held. The rest of such a statement still sees the tables as they were before
the lock. That is why it changes only rows that it finds by key, or that nobody else writes.
"""

from __future__ import annotations

from core.domain.records import FINAL_STATES

_IS_CURRENT = (
    "now.attempt = :attempt AND (now.is_decision = 1 OR now.generation = :generation)"
    f" AND now.state NOT IN ({', '.join(repr(state) for state in sorted(FINAL_STATES))})"
)
"""The condition of `_read_current` in core/store/turns.py."""
RECORD_RESPONSE_SQL = (
    "WITH now AS (SELECT * FROM ponte_current_turn(:seq, :conversation)),"  # noqa: S608
    " remote AS ({remotes}),"
    " round AS (INSERT INTO rounds (seq, number, response) SELECT :seq, :number, :response FROM now"
    f" WHERE {_IS_CURRENT} ON CONFLICT (seq, number) DO UPDATE SET response = excluded.response)"
    " SELECT * FROM now"
)
"""Records a response's id and other remote objects (`{remotes}`, an INSERT) even if the turn is not
current any more, so that they can be erased."""
END_TURN_SQL = (
    "WITH now AS (SELECT * FROM ponte_current_turn(:seq, :conversation)),"  # noqa: S608
    " post AS (UPDATE posts SET post = :post, state = 'posted', updated_at = :at FROM now"
    "  WHERE posts.seq = :seq AND posts.number = :number AND posts.state <> 'removed'"
    "  AND now.attempt <= :attempt),"
    " ended AS (UPDATE inbox SET state = :state, reason = :reason, updated_at = :at FROM now"
    f" WHERE inbox.seq = :seq AND {_IS_CURRENT})"
    " SELECT * FROM now"
)
"""Records the last post of a turn and the end of the turn. An older generation may record its post,
too."""
TURN_FUNCTIONS = """
CREATE FUNCTION ponte_begin(
    of_seq bigint, of_conversation text, of_owner text, new_thread text, at double precision
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    one inbox%ROWTYPE;
    known conversations%ROWTYPE;
BEGIN
    IF NOT ponte_try_lock(of_conversation) THEN
        RETURN NULL;
    END IF;
    INSERT INTO conversations (conversation, thread, used_at)
        SELECT of_conversation, new_thread, at FROM inbox
            WHERE seq = of_seq AND state = 'new' AND attempt = 0 AND thread = ''
        ON CONFLICT (conversation) DO UPDATE SET used_at = excluded.used_at
        RETURNING * INTO known;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF known.thread = new_thread THEN
        INSERT INTO threads (id, conversation, generation, started_at)
            VALUES (new_thread, of_conversation, known.generation, at);
    END IF;
    UPDATE inbox SET state = 'running', attempt = 1, generation = known.generation,
            thread = known.thread, owner = of_owner, updated_at = at
        WHERE seq = of_seq RETURNING * INTO one;
    RETURN jsonb_build_object(
        'message', one.message, 'accepted_at', one.created_at, 'refusal', one.refusal,
        'generation', one.generation, 'thread', one.thread,
        'is_thread_new', one.thread = new_thread,
        'undelivered_reason', (SELECT reason FROM inbox WHERE conversation = of_conversation
            AND state = 'undeliverable' AND is_notified = 0 ORDER BY seq DESC LIMIT 1),
        'record', (SELECT record FROM thread_map WHERE conversation = of_conversation));
END $$;

CREATE FUNCTION ponte_count(
    of_scopes text[], of_periods text[], of_turns bigint, of_tokens bigint, of_money bigint
) RETURNS TABLE (turns bigint, tokens bigint, money bigint, notices bigint) LANGUAGE plpgsql AS $$
BEGIN
    FOR number IN 1 .. cardinality(of_scopes) LOOP
        UPDATE counters AS one SET turns = one.turns + of_turns, tokens = one.tokens + of_tokens,
                money = one.money + of_money
            WHERE one.scope = of_scopes[number] AND one.period = of_periods[number]
            RETURNING one.turns, one.tokens, one.money, one.notices
            INTO turns, tokens, money, notices;
        RETURN NEXT;
    END LOOP;
END $$
"""
"""
- `ponte_begin` begins a turn that a worker has just fetched and that nobody began before, as
  `_begin_turn` in core/store/turns.py does. It returns what the journal needs of the turn. It
  returns NULL if another transaction has locked the conversation. It must not wait for that lock:
  the fetch has locked the job, and that transaction may wait for the job.
- `ponte_count` adds to counters, one after the other in the given order, and returns them. A
  counter that does not exist is returned as a row of NULL."""
