"""SQL functions of a shared database (Postgres) that do in one statement what takes several on
SQLite. A statement costs a process and the server more than the work in it, so a plain turn sends
few."""

from __future__ import annotations

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
  `_begin_turn` in core/journal/journal.py does. It returns what the journal needs of the turn. It
  returns NULL if another transaction has locked the conversation. It must not wait for that lock:
  the fetch has locked the job, and that transaction may wait for the job.
- `ponte_count` adds to counters, one after the other in the given order, and returns them. A
  counter that does not exist is returned as a row of NULL."""
