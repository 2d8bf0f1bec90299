"""SQL functions and triggers of a shared database (Postgres): those of the turn queue, and those
that do in one statement what takes several on SQLite.

After a release, a function that changes also needs a migration (`core/store/schema.py`).
"""

from __future__ import annotations

from core.journal.turn_queue import (
    MAX_OVERTAKING_MESSAGES,
    MAX_PERSON_TURNS_IN_CHANNEL,
    POSITIONS_PER_ROUND,
)
from core.journal.turn_rows import IS_OPEN_TURN, SENDER_KEY
from core.store.schema import LOCK_KEY

_BY_INDEX = """SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off SET jit = off"""
"""Planner settings that leave Postgres only nested loops over indexes. The tables of the queue are
usually empty, so Postgres has no statistics when many messages arrive at once. Without these
settings, each fetch read all waiting jobs (4 s with 10,000 of them)."""
_OPEN, _FLOW = IS_OPEN_TURN, SENDER_KEY

QUEUE_FUNCTIONS = f"""
CREATE INDEX ponte_jobs_lock ON procrastinate_jobs (lock) WHERE status IN ('todo', 'doing');

CREATE FUNCTION ponte_lock(conversation text) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(conversation, {LOCK_KEY}));
    RETURN 1;
END $$;

CREATE FUNCTION ponte_try_lock(conversation text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RETURN pg_try_advisory_xact_lock(hashtextextended(conversation, {LOCK_KEY}));
END $$;

CREATE FUNCTION ponte_defer(of_seq bigint, of_queue text, of_priority bigint) RETURNS void
    LANGUAGE plpgsql AS $$
DECLARE
    made bigint;
BEGIN
    INSERT INTO procrastinate_jobs (queue_name, task_name, priority, lock, args)
        SELECT coalesce(of_queue, split_part(conversation, ':', 1)
                        || CASE is_decision WHEN 0 THEN '' ELSE '!' END),
            'turn', of_priority, CASE is_decision WHEN 0 THEN conversation END,
            jsonb_build_object('seq', seq)
        FROM inbox WHERE seq = of_seq
        RETURNING id INTO made;
    UPDATE inbox SET job = made WHERE seq = of_seq;
END $$;

CREATE FUNCTION ponte_has_room(of_flow text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT count(*) < {MAX_PERSON_TURNS_IN_CHANNEL} FROM (
        SELECT 1 FROM inbox WHERE {_FLOW} = of_flow AND {_OPEN} AND job > 0
            ORDER BY position LIMIT {MAX_PERSON_TURNS_IN_CHANNEL}) AS active);
END $$;

CREATE FUNCTION ponte_line_up(of_seq bigint) RETURNS bigint LANGUAGE plpgsql {_BY_INDEX} AS $$
DECLARE
    one inbox%ROWTYPE;
    number bigint;
    chosen bigint;
    before_it bigint;
    last_before bigint;
BEGIN
    SELECT * INTO one FROM inbox WHERE seq = of_seq;
    number := greatest(0,
        (SELECT position FROM inbox
            WHERE is_decision = 0 AND state IN ('running', 'answered', 'posting')
            ORDER BY position DESC LIMIT 1) / {POSITIONS_PER_ROUND},
        (SELECT CASE WHEN of_seq - oldest.seq > {MAX_OVERTAKING_MESSAGES} THEN oldest.position / {POSITIONS_PER_ROUND} END
            FROM (SELECT seq, position FROM inbox WHERE is_decision = 0 AND state = 'new'
                  AND job > 0 ORDER BY job LIMIT 1) AS oldest),
        (SELECT position FROM inbox
            WHERE {_FLOW} = one.channel || ' ' || one.person AND {_OPEN} AND seq <> of_seq
            ORDER BY position DESC LIMIT 1) / {POSITIONS_PER_ROUND} + 1);
    chosen := least(number * {POSITIONS_PER_ROUND} + {POSITIONS_PER_ROUND} - 1, greatest(
        number * {POSITIONS_PER_ROUND},
        (SELECT position FROM inbox WHERE person = one.person AND {_OPEN} AND seq <> of_seq
            AND position < number * {POSITIONS_PER_ROUND} + {POSITIONS_PER_ROUND} ORDER BY position DESC LIMIT 1) + 1,
        (SELECT position FROM inbox WHERE channel = one.channel AND {_OPEN} AND seq <> of_seq
            AND position < number * {POSITIONS_PER_ROUND} + {POSITIONS_PER_ROUND} ORDER BY position DESC LIMIT 1) + 1));
    SELECT count(*), max(position) INTO before_it, last_before FROM (
        SELECT position FROM inbox WHERE conversation = one.conversation AND {_OPEN}
            AND seq < of_seq ORDER BY position, seq) AS earlier;
    chosen := greatest(chosen, last_before);
    UPDATE inbox SET position = chosen WHERE seq = of_seq;
    IF before_it = 0 AND ponte_has_room(one.channel || ' ' || one.person) THEN
        PERFORM ponte_defer(of_seq, NULL, -chosen);
    END IF;
    RETURN before_it;
END $$;

CREATE FUNCTION ponte_ready(of_flow text) RETURNS boolean LANGUAGE plpgsql {_BY_INDEX} AS $$
DECLARE
    found_seq bigint;
    found_position bigint;
BEGIN
    IF NOT ponte_has_room(of_flow) THEN
        RETURN false;
    END IF;
    SELECT seq, position INTO found_seq, found_position FROM inbox AS one
        WHERE {_FLOW} = of_flow AND state = 'new' AND job = 0
            AND (is_decision = 1 OR seq = (
                SELECT seq FROM inbox WHERE conversation = one.conversation AND {_OPEN}
                    ORDER BY position, seq LIMIT 1))
        ORDER BY position LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF found_seq IS NOT NULL THEN
        PERFORM ponte_defer(found_seq, NULL, -found_position);
    END IF;
    RETURN found_seq IS NOT NULL;
END $$;

CREATE FUNCTION ponte_next(of_conversation text, of_flow text) RETURNS void
    LANGUAGE plpgsql {_BY_INDEX} AS $$
DECLARE
    one inbox%ROWTYPE;
    its_flow text;
BEGIN
    SELECT * INTO one FROM inbox WHERE conversation = of_conversation AND {_OPEN}
        ORDER BY position, seq LIMIT 1;
    its_flow := one.channel || ' ' || one.person;
    IF one.job = 0 AND ponte_has_room(its_flow) THEN
        PERFORM ponte_defer(one.seq, NULL, -one.position);
        IF its_flow = of_flow THEN
            RETURN;
        END IF;
    END IF;
    PERFORM ponte_ready(of_flow);
END $$;

CREATE FUNCTION ponte_locked_row(of_seq bigint) RETURNS SETOF inbox ROWS 1 LANGUAGE plpgsql AS $$
BEGIN
    PERFORM ponte_lock((SELECT conversation FROM inbox WHERE seq = of_seq));
    RETURN QUERY SELECT * FROM inbox WHERE seq = of_seq;
END $$;

CREATE FUNCTION ponte_current_turn(of_seq bigint, of_conversation text)
    RETURNS SETOF current_turns ROWS 1 LANGUAGE plpgsql AS $$
BEGIN
    PERFORM ponte_lock(of_conversation);
    RETURN QUERY SELECT * FROM current_turns WHERE seq = of_seq;
END $$;

CREATE FUNCTION ponte_fetch(queues varchar[], worker bigint) RETURNS TABLE (
    id bigint, status procrastinate_job_status, task_name varchar, priority integer, lock text,
    queueing_lock text, args jsonb, scheduled_at timestamptz, queue_name varchar, attempts integer,
    worker_id bigint, has_kernels boolean, look_in double precision, message text,
    created_at double precision
) LANGUAGE plpgsql {_BY_INDEX} AS $$
DECLARE
    job procrastinate_jobs;
BEGIN
    job := procrastinate_fetch_job_v2(queues, worker);
    IF job.id IS NULL THEN
        look_in := (SELECT extract(epoch FROM min(one.scheduled_at) - clock_timestamp())
            FROM procrastinate_jobs AS one WHERE one.status = 'todo'
            AND (queues IS NULL OR one.queue_name = ANY (queues))
            AND one.scheduled_at < now() + interval '1 minute');
    ELSIF EXISTS (SELECT 1 FROM procrastinate_jobs AS one WHERE one.status = 'todo'
            AND (queues IS NULL OR one.queue_name = ANY (queues))
            AND (one.scheduled_at IS NULL OR one.scheduled_at < now() + interval '1 minute')) THEN
        look_in := 0;
    END IF;
    has_kernels := EXISTS (SELECT 1 FROM kernels WHERE process <> '');
    SELECT one.message, one.created_at INTO message, created_at FROM inbox AS one
        WHERE one.seq = (job.args ->> 'seq')::bigint AND one.state = 'new';
    RETURN QUERY SELECT job.id, job.status, job.task_name, job.priority, job.lock,
        job.queueing_lock, job.args, job.scheduled_at, job.queue_name, job.attempts,
        job.worker_id, has_kernels, look_in, message, created_at;
END $$;

CREATE FUNCTION ponte_ended() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('ponte', 'ended ' || NEW.seq);
    IF NEW.job > 0 THEN
        DELETE FROM procrastinate_jobs WHERE id = NEW.job;
    END IF;
    IF NEW.is_decision = 0 THEN
        PERFORM ponte_next(NEW.conversation, NEW.channel || ' ' || NEW.person);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER inbox_ended AFTER UPDATE OF state ON inbox FOR EACH ROW
    WHEN (NEW.state IS DISTINCT FROM OLD.state
          AND NEW.state NOT IN ('new', 'running', 'answered', 'posting'))
    EXECUTE FUNCTION ponte_ended();

CREATE FUNCTION ponte_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('ponte', 'moved ' || NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER changes_moved AFTER INSERT OR UPDATE OF version ON changes FOR EACH ROW
    WHEN (NEW.version > NEW.drawn_version) EXECUTE FUNCTION ponte_moved();
CREATE TRIGGER changes_asked AFTER INSERT ON changes FOR EACH ROW
    WHEN (NEW.state = 'open' AND NEW.last_notice = '')
    EXECUTE FUNCTION ponte_moved()
"""  # noqa: E501, S608 (constants of ours; a line break would change the stored function)
"""The functions of the turn queue of a shared database (Postgres).

Only a turn that may begin has a job. It must be the first unfinished turn of its conversation, and
its person must have fewer than MAX_PERSON_TURNS_IN_CHANNEL turns with a job in its channel. The
column `position` orders the turns (core/journal/turn_queue.py); the job's priority is `-position`.

- `ponte_lock` locks a conversation, or another key, until the transaction ends. `ponte_try_lock`
  returns whether it could, without waiting. A function in plpgsql keeps its plan; one in sql is
  planned at each call.
- `ponte_defer` creates a job for a turn. Decisions have a queue of their own and no lock.
- `ponte_has_room` returns whether a person may have another turn with a job in a channel.
- `ponte_line_up` sets the position of a message that was just stored. It returns how many turns are
  before it in its conversation.
- `ponte_next` runs when a turn has ended, and gives a job to the turns that may begin now.
- `ponte_ready` gives a job to one waiting turn of a sender. A sweep also calls it for turns that
  two simultaneous transactions both missed. It returns whether it found one.
- `ponte_locked_row` locks a turn's conversation and returns the turn's row as it is then. Each
  statement of a volatile function sees what was committed before it began.
- `ponte_current_turn` locks a conversation and returns the row of one of its turns in the view
  `current_turns`.
- `ponte_fetch` gives a job to a worker. It wraps Procrastinate's function, because an upgrade of
  Procrastinate may redefine that function and so drop planner settings set on it. It also returns
  whether any process may run a kernel; in how many seconds the worker should look again (0 if
  another job may wait, NULL if it should wait for a notification); and the message of a turn that
  has not begun.
- `ponte_ended` runs when a turn has ended. It deletes the turn's job, so that the job of the next
  turn, which it creates, can begin at once.
- `ponte_moved` runs when a card must be drawn again or a proposal waits for approval.

A notification (`pg_notify`) is only a hint: its receiver reads the row, and also checks rows
without one.

Each lookup has exactly one index in the order that it needs, so the query plan depends neither on
statistics nor on the size of the table."""


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
        'record', (SELECT record FROM threads WHERE id = one.thread));
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
