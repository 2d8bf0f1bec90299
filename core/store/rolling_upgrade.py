"""SQL that lets processes of schema 7 run beside newer ones on a shared database.

Schema 8 gives a job only to a turn that may begin; a turn that waits has job 0 (`QUEUE_FUNCTIONS`
in core/store/queue_functions.py). Schema 7 gave every turn a job at once. Its processes still do so
while the processes of a cluster are replaced one after the other. Without these rules, turns of one
conversation would run in the wrong order during an upgrade (`make rolling`). The rules are a part
of migration 8. A database that has migration 8 without the rules has completed that upgrade.
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
"""Three rules. A later version can drop them.

1. A process of schema 7 takes over each turn whose `job` is not in `procrastinate_jobs`, and puts
   it before all others. So `WAITING_JOB` is a row in that table, due in the year 9999 (Python
   cannot read 'infinity').

2. A process of schema 7 stores a message without its `channel`, and then creates its job with
   priority 0. So a trigger first gives a job to each waiting turn of the conversation. It also
   raises the conversation's existing jobs to priority 0, because jobs of equal priority run in the
   order of their ids. Running jobs are raised too, because a process that ends puts them back.

3. A process that was frozen gives up its turn, since another process may have it, so the job ends
   before the turn does. If a process of schema 7 already gave the next turn of the conversation a
   job, that turn would begin first. So a trigger gives the turn a new job in the same transaction,
   before all waiting jobs. The job is due half a second later, so that a process that still runs
   the turn does not fetch it again and again.
"""
