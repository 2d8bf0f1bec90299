"""SQL with which processes of schema 7 work beside newer ones on a shared database.

Schema 8 gives a job only to a turn that may begin; a turn that waits has job 0 (`QUEUE` in
core/store/schema.py). Schema 7 gave every turn a job at once, and its processes still do so while
the processes of a cluster are replaced one after the other. Without these rules, turns of one
conversation run in the wrong order during an upgrade (`make rolling`). The rules are a part of
migration 8: a database that has it without them is past that upgrade.
"""

from __future__ import annotations

from core.store.places import CRASHES_BEFORE_ALONE

WAITING_JOB = 0
"""`inbox.job` of a turn that waits, and the id of a job that no worker can fetch."""

_OPEN = "decision = 0 AND state IN ('new', 'running', 'answered', 'posting')"

BESIDE_SCHEMA_7 = f"""
INSERT INTO procrastinate_jobs (id, queue_name, task_name, priority, scheduled_at)
    VALUES ({WAITING_JOB}, 'waiting', 'waiting', -2147483648, '9999-01-01 00:00Z');

CREATE FUNCTION ponte_insert_of_schema_7() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    earlier bigint;
BEGIN
    NEW.position := coalesce((SELECT max(position) FROM inbox
        WHERE conversation = NEW.conversation AND {_OPEN}), 0);
    UPDATE procrastinate_jobs SET priority = 0
        WHERE lock = NEW.conversation AND status IN ('todo', 'doing') AND priority < 0;
    FOR earlier IN SELECT seq FROM inbox WHERE conversation = NEW.conversation AND {_OPEN}
            AND state = 'new' AND job = {WAITING_JOB} ORDER BY position, seq LOOP
        PERFORM ponte_defer(earlier, NULL, 0);
    END LOOP;
    RETURN NEW;
END $$;
CREATE TRIGGER inbox_insert_of_schema_7 BEFORE INSERT ON inbox FOR EACH ROW
    WHEN (NEW.channel = '' AND NEW.decision = 0)
    EXECUTE FUNCTION ponte_insert_of_schema_7();

CREATE FUNCTION ponte_keep_place() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    one inbox%ROWTYPE;
BEGIN
    SELECT * INTO one FROM inbox
        WHERE seq = (OLD.args->>'seq')::bigint AND job = OLD.id AND {_OPEN};
    IF FOUND THEN
        PERFORM ponte_defer(one.seq, NULL,
            CASE WHEN one.attempt >= {CRASHES_BEFORE_ALONE} THEN 2 ELSE 1 END);
        UPDATE procrastinate_jobs SET scheduled_at = now() + interval '0.5 s'
            WHERE id = (SELECT job FROM inbox WHERE seq = one.seq);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER jobs_keep_place AFTER DELETE ON procrastinate_jobs FOR EACH ROW
    WHEN (OLD.task_name = 'turn' AND OLD.status = 'doing')
    EXECUTE FUNCTION ponte_keep_place()
"""  # noqa: S608 (constants of ours)
"""Three rules; a later version can drop them.

A process of schema 7 takes a turn over whose `job` is not in `procrastinate_jobs`, and puts it
before all others. So `WAITING_JOB` is a row there, which is never due (Python cannot
read 'infinity').

A process of schema 7 stores a message without its `channel`, and defers its job with priority 0
right after. So the trigger first gives a job to each turn of the conversation that still waits, and
raises the jobs that are there to the same priority: equal priorities run in the order of their ids.
Jobs that run are raised too, since a process that ends puts them back.

A process that stood still gives up its turn, since another process may have it, and its job ends
before the turn does. If a process of schema 7 already gave the next turn of the conversation a job,
that turn would begin first. So the turn gets a new job in the same transaction, before all that
wait. The delay keeps a process that still runs the turn from fetching it again and again.
"""
