# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""All SQL of the package.

Values are always bound parameters. What stands in braces is filled in by
`for_table` from constants of this module alone: the table's name, and how its
``created`` is read as, and written from, an instant.
"""

from sqlalchemy import text
from sqlalchemy.sql.elements import TextClause

RECORDS = "rdm_records_metadata"
COMMUNITIES = "communities_metadata"
DRAFTS = "rdm_drafts_metadata"
MEMBERSHIPS = "rdm_parents_community"
RUNS = "kcworks_created_dates_run"
TABLE_OF_KIND = {"record": RECORDS, "community": COMMUNITIES}

# A `timestamp` column means UTC by Invenio's convention; a `timestamptz` column is an
# instant already. `AT TIME ZONE` makes the conversion explicit, so that no session or
# server time zone ever takes part in it.
_CONVERSIONS = {
    "timestamp without time zone": " AT TIME ZONE 'UTC'",
    "timestamp with time zone": "",
}
COLUMN_TYPES = tuple(_CONVERSIONS)


def for_table(query: str, table: str, column_type: str) -> TextClause:
    """Fill a table's name and conversions into one of the queries below.

    Args:
        query: A constant of this module.
        table: One of the instance's table names above.
        column_type: The type of its column ``created``, as `SELECT_COLUMN_TYPE` gives.

    Returns:
        The statement.
    """
    convert = _CONVERSIONS[column_type]
    return text(
        query.format(
            table=table,
            created=f"(t.created{convert})",
            old_created=f"(i.old_created{convert})",
            new_created=f"(i.new_created{convert})",
            since=f"(CAST(:since AS timestamptz){convert})",
        )
    )


# --- the session ---------------------------------------------------------------------

# Local to the transaction, so PostgreSQL itself puts all back at its end, whatever the
# end is. UTC makes the driver hand out UTC instants. A statement that counts or reads
# all rows takes as long as there are rows: a role's limit would fail each rerun, too.
# A limit of idle transactions stays, which frees the rows of a run that is held up.
SET_LOCALS = text(
    "SELECT pg_backend_pid(), set_config('lock_timeout', :lock_timeout, true),"
    " set_config('statement_timeout', '0', true),"
    " CASE WHEN current_setting('server_version_num')::integer >= 170000"
    " THEN set_config('transaction_timeout', '0', true) END,"
    " set_config('TimeZone', 'UTC', true)"
)

# Held by the session that does the work: it goes with the connection, so a killed run
# leaves no lock, and a run that lost its connection can't go on without it.
TRY_LOCK = text("SELECT pg_try_advisory_lock(:key)")

# The server's process that answers; a pooler may give each transaction another one.
SELECT_BACKEND_PID = text("SELECT pg_backend_pid()")

# The view has the locks of all databases of the server, and a copy of a database has
# the same numbers for its tables.
_OF_THIS_DATABASE = (
    "l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
_LOCK_HOLDER = (
    "SELECT l.pid FROM pg_locks AS l WHERE l.locktype = 'advisory' AND l.granted"
    " AND l.objsubid = 1 AND (l.classid::bigint << 32) + l.objid::bigint = :key"
    f" AND {_OF_THIS_DATABASE}"
)
SELECT_LOCK_HOLDER = text(_LOCK_HOLDER)

# Who has a lock on a whole table that keeps others from changing its rows. What others
# execute may hold secrets, so it is never shown, here and below.
SELECT_TABLE_LOCK_HOLDERS = text(f"""
SELECT DISTINCT a.pid, a.application_name, a.xact_start
FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.granted AND a.pid <> pg_backend_pid() AND {_OF_THIS_DATABASE}
  AND l.relation IN (to_regclass('rdm_records_metadata'),
                     to_regclass('communities_metadata'))
  AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
                 'AccessExclusiveLock')
ORDER BY a.xact_start LIMIT 3
""")
HOW_TO_SEE_STATEMENT = "SELECT query FROM pg_stat_activity WHERE pid = {pid}"

SELECT_COLUMN_TYPE = text(
    "SELECT format_type(atttypid, NULL) FROM pg_attribute"
    " WHERE attrelid = to_regclass(:table) AND attname = 'created'"
    " AND NOT attisdropped"
)
SELECT_TABLE_EXISTS = text("SELECT to_regclass(:table) IS NOT NULL")

# --- reading -------------------------------------------------------------------------

# Python holds the years 1 to 9999; a row outside reads as NULL and becomes a problem.
_CREATED = (
    "CASE WHEN t.created >= '0001-01-01' AND t.created < '10000-01-01'"
    " THEN {created} END"
)

# `OFFSET 0` keeps the planner from repeating the expression, which would decompress
# the whole document once for each place that uses it.
_CUSTOM_FIELDS = (
    " CROSS JOIN LATERAL (SELECT t.json->'custom_fields' AS v OFFSET 0) AS f"
)
_HAS_FIELD = (
    "(jsonb_typeof(f.v) = 'object' AND f.v ? :field"
    " OR jsonb_typeof(f.v) NOT IN ('object', 'null'))"
)
_OTHER_CUSTOM_FIELDS = (
    "jsonb_typeof(f.v), CASE WHEN jsonb_typeof(f.v) <> 'object'"
    " THEN left(f.v::text, 501) END,"
    " jsonb_typeof(f.v->:field), left(f.v->>:field, 501)"
)

# What an incremental run looks at: what was edited since, what an earlier run had a
# problem with (a lock has gone, a date has passed), and what was rolled back since.
SINCE = """
    AND (t.updated >= {since}
         OR EXISTS (SELECT FROM kcworks_created_dates_problem AS p
                    WHERE p.entity_id = t.id AND p.run_id = :since_run_id)
         OR EXISTS (SELECT FROM kcworks_created_dates_backup AS b
                    WHERE b.entity_id = t.id AND b.restored_at >= :since))"""
COUNT_WITH_FIELD = (
    "SELECT count(*), count(*) FILTER (WHERE t.id <= CAST(:cursor AS uuid))"
    " FROM {table} AS t" + _CUSTOM_FIELDS + " WHERE " + _HAS_FIELD
)

# Of the groups only what the rules look at travels: the type of each entry, and the
# type and text of its identifier.
_SELECT_RECORDS = (
    "SELECT t.id::text, coalesce(nullif(left(t.json->>'id', 255), ''), t.id::text), "
    + _CREATED
    + ', t."index", '
    + _OTHER_CUSTOM_FIELDS
    + """,
    jsonb_typeof(f.v->:groups_field),
    CASE WHEN jsonb_typeof(f.v->:groups_field) <> 'array'
         THEN left(f.v->>:groups_field, 501) END,
    CASE WHEN jsonb_typeof(f.v->:groups_field) = 'array' THEN (
        SELECT array_agg(ARRAY[
            jsonb_typeof(e),
            CASE WHEN (jsonb_typeof(e->:identifier) <> 'null') IS NOT TRUE
                 THEN left(e::text, 501) END,
            jsonb_typeof(e->:identifier), left(e->>:identifier, 501)])
        FROM jsonb_array_elements(f.v->:groups_field) AS e) END
    FROM {table} AS t"""
    + _CUSTOM_FIELDS
    + " WHERE "
    + _HAS_FIELD
)
_SELECT_COMMUNITIES = (
    "SELECT t.id::text, coalesce(nullif(left(t.slug, 255), ''), t.id::text), "
    + _CREATED
    + ", "
    + _OTHER_CUSTOM_FIELDS
    + " FROM {table} AS t"
    + _CUSTOM_FIELDS
    + " WHERE "
    + _HAS_FIELD
)
# Keyset pages: each is a short query of its own on the primary key.
NEXT_PAGE = (
    " AND (CAST(:cursor AS uuid) IS NULL OR t.id > CAST(:cursor AS uuid))"
    " AND (CAST(:last AS uuid) IS NULL OR t.id <= CAST(:last AS uuid))"
    " ORDER BY t.id LIMIT :limit"
)
BY_IDS = " AND t.id = ANY(CAST(:ids AS uuid[])) ORDER BY t.id"
SELECT_WITH_FIELD = {"record": _SELECT_RECORDS, "community": _SELECT_COMMUNITIES}

# A misspelt name in a list of rows to keep would silently change the row. One pass over
# each table and name, in the very values that the names are compared with later.
SELECT_UNKNOWN_NAMES = text("""
SELECT name FROM unnest(CAST(:names AS text[])) AS name
WHERE NOT EXISTS (SELECT FROM rdm_records_metadata AS t WHERE t.json->>'id' = name)
  AND NOT EXISTS (SELECT FROM rdm_records_metadata AS t WHERE t.id::text = name)
  AND NOT EXISTS (SELECT FROM communities_metadata AS c WHERE c.slug = name)
  AND NOT EXISTS (SELECT FROM communities_metadata AS c WHERE c.id::text = name)
ORDER BY name
""")

# --- the ledger ----------------------------------------------------------------------

# The change and its backup are one statement, so neither can be without the other.
# A row that somebody holds is left out instead of waited for, and so is a row that is
# no longer what the decision was made on: whoever calls compares the ids it gets back.
# Each column comes as one text with a line per row: the driver needs longer to adapt
# a thousand values one by one than the database to change the rows.
UPDATE_CREATED_AND_BACK_UP = r"""
WITH i AS (
    SELECT * FROM unnest(
        CAST(string_to_array(:ids, E'\n') AS uuid[]),
        string_to_array(:labels, E'\n'),
        CAST(string_to_array(:old_created, E'\n') AS timestamptz[]),
        CAST(string_to_array(:new_created, E'\n') AS timestamptz[]),
        string_to_array(:source_values, E'\n'),
        CAST(string_to_array(:source_record_ids, E'\n') AS uuid[]),
        string_to_array(:source_record_labels, E'\n')
    ) AS i(id, label, old_created, new_created,
           source_value, source_record_id, source_record_label)
), free AS (
    SELECT t.id FROM {table} AS t JOIN i ON i.id = t.id
    WHERE t.created = {old_created} FOR NO KEY UPDATE OF t SKIP LOCKED
), changed AS (
    UPDATE {table} AS t SET created = {new_created}
    FROM i JOIN free ON free.id = i.id
    WHERE t.id = i.id AND t.created = {old_created} RETURNING t.id
)
INSERT INTO kcworks_created_dates_backup
    (run_id, kind, entity_id, label, old_created, new_created,
     source_value, source_record_id, source_record_label, changed_at)
SELECT :run_id, :kind, i.id, i.label, i.old_created, i.new_created,
       i.source_value, i.source_record_id, i.source_record_label, clock_timestamp()
FROM i JOIN changed ON changed.id = i.id ORDER BY i.id
RETURNING entity_id::text
"""

INSERT_PROBLEMS = text("""
INSERT INTO kcworks_created_dates_problem
    (run_id, kind, entity_id, label, reason, value, found_at)
SELECT :run_id, i.*, clock_timestamp() FROM unnest(
    CAST(:kinds AS text[]), CAST(:ids AS uuid[]), CAST(:labels AS text[]),
    CAST(:reasons AS text[]), CAST(:values AS text[])) AS i
""")
SELECT_LOCKED_IDS = text(
    "SELECT entity_id::text FROM kcworks_created_dates_problem"
    " WHERE run_id = :run_id AND kind = :kind AND reason = 'locked'"
    " AND (CAST(:after AS uuid) IS NULL OR entity_id > CAST(:after AS uuid))"
    " ORDER BY entity_id LIMIT :limit"
)
DELETE_LOCKED = text(
    "DELETE FROM kcworks_created_dates_problem WHERE run_id = :run_id"
    " AND kind = :kind AND reason = 'locked' AND entity_id = ANY(CAST(:ids AS uuid[]))"
)

# --- runs ----------------------------------------------------------------------------

INSERT_RUN = text("""
INSERT INTO kcworks_created_dates_run
    (action, origin, package_version, options, status, phase, statistics, task_id,
     backend_pid, started_at, progress_at)
VALUES (:action, :origin, :package_version, CAST(:options AS jsonb), 'running', :phase,
        CAST(:statistics AS jsonb), :task_id, pg_backend_pid(), clock_timestamp(),
        clock_timestamp())
RETURNING id
""")
# Who goes on may be another process than who began.
UPDATE_RUN_RESUMED = text("""
UPDATE kcworks_created_dates_run
SET status = 'running', message = NULL, task_id = :task_id, stop_requested_at = NULL,
    backend_pid = pg_backend_pid(), progress_at = clock_timestamp()
WHERE id = :run_id
""")
# The base of an incremental run: a succeeded one that looked at everything else that
# the new one is to look at.
SELECT_BASE_RUN = text("""
SELECT id, started_at FROM kcworks_created_dates_run
WHERE action = 'apply' AND status = 'succeeded'
  AND options - 'since' = CAST(:options AS jsonb) - 'since'
ORDER BY id DESC LIMIT 1
""")
SELECT_STOP_IS_REQUESTED = text(
    "SELECT stop_requested_at IS NOT NULL FROM kcworks_created_dates_run"
    " WHERE id = :run_id"
)
SELECT_STATISTICS = text(
    "SELECT statistics FROM kcworks_created_dates_run WHERE id = :run_id"
)
SELECT_STATUS = text("SELECT status FROM kcworks_created_dates_run WHERE id = :run_id")
# The lock may also be held by something that has no run, beside the row of a run that
# was killed.
_IS_AT_WORK = f"status = 'running' AND backend_pid IN ({_LOCK_HOLDER})"
UPDATE_STOP_REQUESTED = text(
    "UPDATE kcworks_created_dates_run SET stop_requested_at = clock_timestamp()"
    f" WHERE {_IS_AT_WORK} RETURNING id"
)
SELECT_UNFINISHED_RUN = text("""
SELECT id, phase, cursor::text, statistics FROM kcworks_created_dates_run
WHERE action = :action AND status IN ('running', 'interrupted', 'errored')
  AND options = CAST(:options AS jsonb)
ORDER BY id DESC LIMIT 1
""")
UPDATE_RUN_PROGRESS = text("""
UPDATE kcworks_created_dates_run
SET status = 'running', message = NULL, phase = :phase, cursor = CAST(:cursor AS uuid),
    statistics = CAST(:statistics AS jsonb), progress = CAST(:progress AS jsonb),
    progress_at = clock_timestamp()
WHERE id = :run_id
""")
UPDATE_RUN_SUCCEEDED = text("""
UPDATE kcworks_created_dates_run
SET status = 'succeeded', message = :message, progress_at = clock_timestamp(),
    finished_at = clock_timestamp()
WHERE id = :run_id
""")
# The dates are right, but the queueing stopped early.
UPDATE_QUEUEING_STOPPED = text("""
UPDATE kcworks_created_dates_run
SET statistics = statistics || jsonb_build_object(
    'stopped_early', true, 'stopped_at_record', CAST(:record AS bigint),
    'stopped_at_community', CAST(:community AS bigint))
WHERE id = :run_id
""")
# The next progress of a run that goes on takes the last three words away again.
UPDATE_RUN_STOPPED = text("""
UPDATE kcworks_created_dates_run
SET status = :status, message = :message, progress_at = clock_timestamp(),
    statistics = statistics || jsonb_build_object(
        'stopped_early', true,
        'stopped_at_record', statistics->'records'->'total_found',
        'stopped_at_community', statistics->'communities'->'total_found')
WHERE id = :run_id
""")
SELECT_RUNNING = text(
    f"SELECT id, origin, started_at FROM kcworks_created_dates_run WHERE {_IS_AT_WORK}"
)
# From here on no upgrade continues these runs: rows before their cursor are about to
# be restored, and a continued run would not look at them again.
MARK_RUNS_REVERTING = text("""
UPDATE kcworks_created_dates_run SET status = 'reverting'
WHERE action = 'apply' AND status NOT IN ('reverting', 'reverted')
  AND (CAST(:only AS bigint) IS NULL OR id = :only)
""")
# The same for the other unfinished runs when only some changes are put back.
MARK_UNFINISHED_SUPERSEDED = text("""
UPDATE kcworks_created_dates_run SET status = 'superseded'
WHERE action = 'apply' AND status IN ('running', 'interrupted', 'errored')
""")
# A whole downgrade has done what earlier ones, of some changes, left undone.
MARK_REVERTS_SUPERSEDED = text("""
UPDATE kcworks_created_dates_run SET status = 'superseded'
WHERE action = 'revert' AND status IN ('running', 'interrupted', 'errored')
  AND id <> :run_id
""")
MARK_RUNS_REVERTED = text("""
UPDATE kcworks_created_dates_run AS r SET status = 'reverted'
WHERE action = 'apply' AND status = 'reverting' AND NOT EXISTS (
    SELECT FROM kcworks_created_dates_backup AS b
    WHERE b.run_id = r.id AND b.outcome IS NULL)
""")

# --- restoring -----------------------------------------------------------------------

# An entry that a later one built on is out of reach until that one is put back:
# restored before it, it would be found changed, and the first value be lost. The
# entries' numbers tell the order, not the runs': an earlier run may have gone on after
# a later one.
_NAMED = """
  AND (CAST(:labels AS text[]) IS NULL OR b.label = ANY(CAST(:labels AS text[]))
       OR b.entity_id::text = ANY(CAST(:labels AS text[])))
"""
_IS_LAST = """
  AND NOT EXISTS (
    SELECT FROM kcworks_created_dates_backup AS later
    WHERE later.entity_id = b.entity_id AND later.kind = b.kind
      AND later.id > b.id AND later.outcome IS NULL)
"""
COUNT_STANDING = text(
    "SELECT count(*) FROM kcworks_created_dates_backup AS b WHERE b.outcome IS NULL"
    " AND (CAST(:kind AS text) IS NULL OR b.kind = :kind)"
    " AND (CAST(:run_id AS bigint) IS NULL OR b.run_id = :run_id"
    + _IS_LAST
    + ")"
    + _NAMED
)
SELECT_STANDING = text(
    "SELECT b.id FROM kcworks_created_dates_backup AS b"
    " WHERE b.kind = :kind AND b.outcome IS NULL"
    " AND (CAST(:run_id AS bigint) IS NULL OR b.run_id = :run_id)"
    " AND (CAST(:before AS bigint) IS NULL OR b.id < :before)"
    + _IS_LAST
    + _NAMED
    + " ORDER BY b.id DESC LIMIT :limit"
)
# Rows of a run that later runs changed again, by the latest of these.
SELECT_LATER_RUNS = text(
    "SELECT later.run_id, count(*) AS rows FROM kcworks_created_dates_backup AS b"
    " JOIN kcworks_created_dates_backup AS later"
    " ON later.entity_id = b.entity_id AND later.kind = b.kind"
    " AND later.id > b.id AND later.outcome IS NULL"
    " WHERE b.run_id = :run_id AND b.kind = :kind AND b.outcome IS NULL"
    + _NAMED
    + " GROUP BY later.run_id ORDER BY later.run_id DESC"
)
# Restored is only what still has the value that the migration gave it. A row that
# somebody holds keeps its entry open; one that is gone or was changed closes it.
RESTORE_CREATED = """
WITH i AS (
    SELECT b.id AS entry_id, b.entity_id AS id, b.old_created, b.new_created, b.label
    FROM kcworks_created_dates_backup AS b
    WHERE b.id = ANY(CAST(:entry_ids AS bigint[])) AND b.outcome IS NULL
), free AS (
    SELECT t.id, {created} AS created FROM {table} AS t JOIN i ON i.id = t.id
    FOR NO KEY UPDATE OF t SKIP LOCKED
), restored AS (
    UPDATE {table} AS t SET created = {old_created}
    FROM i JOIN free ON free.id = i.id
    WHERE t.id = i.id AND t.created = {new_created} RETURNING t.id
), outcomes AS (
    SELECT i.*, free.created AS present_created, CASE
        WHEN restored.id IS NOT NULL THEN 'restored'
        WHEN free.id IS NOT NULL THEN 'changed_since'
        WHEN NOT EXISTS (SELECT FROM {table} AS t WHERE t.id = i.id) THEN 'deleted'
        END AS outcome
    FROM i LEFT JOIN free ON free.id = i.id LEFT JOIN restored ON restored.id = i.id
), closed AS (
    UPDATE kcworks_created_dates_backup AS b
    SET outcome = o.outcome,
        restored_at = CASE WHEN o.outcome = 'restored' THEN clock_timestamp() END,
        queued_at = CASE WHEN o.outcome <> 'restored' THEN b.queued_at END
    FROM outcomes AS o WHERE b.id = o.entry_id AND o.outcome IS NOT NULL
)
SELECT id::text, label, old_created, new_created, present_created::text, outcome
FROM outcomes ORDER BY entry_id
"""

# --- reindexing ----------------------------------------------------------------------

COUNT_UNQUEUED = text(
    "SELECT count(*) FROM kcworks_created_dates_backup WHERE queued_at IS NULL"
)
# A run fills the table faster than autovacuum looks at it. Without statistics the
# search for what embeds a community with 200,000 records, all waiting, takes hours.
ANALYZE_BACKUP = text("ANALYZE kcworks_created_dates_backup")
SELECT_UNQUEUED = text("""
SELECT id, entity_id::text AS entity_id FROM kcworks_created_dates_backup
WHERE queued_at IS NULL AND kind = :kind AND id > :after ORDER BY id LIMIT :limit
""")
UPDATE_ALL_UNQUEUED = text(
    "UPDATE kcworks_created_dates_backup SET queued_at = NULL"
    " WHERE outcome IS NULL OR outcome = 'restored'"
)
UPDATE_QUEUED = text("""
UPDATE kcworks_created_dates_backup SET queued_at = clock_timestamp()
WHERE id = ANY(CAST(:entry_ids AS bigint[]))
""")
# One level of sub-communities is right: a document embeds the parents of its own
# communities and nothing above them.
SELECT_SUBCOMMUNITIES = text("""
SELECT id::text AS id FROM communities_metadata
WHERE json->'parent'->>'id' = ANY(CAST(:ids AS text[]))
""")
# Records that wait for reindexing on their own account are left to that, or each
# would be built twice. The keyset runs over the document's id.
SELECT_EMBEDDING = {
    "record": text("""
        SELECT t.id::text AS id FROM rdm_records_metadata AS t
        WHERE t.json IS NOT NULL
          AND t.parent_id IN (SELECT record_id FROM rdm_parents_community
                              WHERE community_id = ANY(CAST(:ids AS uuid[])))
          AND NOT EXISTS (SELECT FROM kcworks_created_dates_backup AS b
                          WHERE b.entity_id = t.id AND b.kind = 'record'
                            AND b.queued_at IS NULL)
          AND (CAST(:cursor AS uuid) IS NULL OR t.id > CAST(:cursor AS uuid))
        ORDER BY t.id LIMIT :limit
    """),
    "draft": text("""
        SELECT t.id::text AS id FROM rdm_drafts_metadata AS t
        WHERE t.json IS NOT NULL
          AND t.parent_id IN (SELECT record_id FROM rdm_parents_community
                              WHERE community_id = ANY(CAST(:ids AS uuid[])))
          AND (CAST(:cursor AS uuid) IS NULL OR t.id > CAST(:cursor AS uuid))
        ORDER BY t.id LIMIT :limit
    """),
}

# --- estimating ----------------------------------------------------------------------

# Temporary tables are the session's own: no other one sees them, nothing stays.
CREATE_CHANGED = text(
    "CREATE TEMPORARY TABLE kcworks_changed (kind text NOT NULL, id uuid NOT NULL)"
)
DROP_CHANGED = text("DROP TABLE IF EXISTS pg_temp.kcworks_changed")
INSERT_CHANGED = text(
    "INSERT INTO kcworks_changed SELECT :kind, unnest(CAST(:ids AS uuid[]))"
)
SELECT_CHANGED_RECORDS = text(
    "SELECT id::text FROM kcworks_changed WHERE kind = 'record' LIMIT :limit"
)
COUNT_CHANGED_DOCUMENTS = text("""
WITH stale AS (
    SELECT id FROM kcworks_changed WHERE kind = 'community'
    UNION
    SELECT c.id FROM communities_metadata AS c WHERE c.json->'parent'->>'id' IN
        (SELECT id::text FROM kcworks_changed WHERE kind = 'community')
), members AS (
    SELECT DISTINCT record_id AS id FROM rdm_parents_community
    WHERE community_id IN (SELECT id FROM stale)
)
SELECT (SELECT count(*) FROM stale)
    + (SELECT count(*) FROM rdm_drafts_metadata AS d
       WHERE d.json IS NOT NULL AND d.parent_id IN (SELECT id FROM members))
    + (SELECT count(*) FROM (
        SELECT id FROM kcworks_changed WHERE kind = 'record'
        UNION
        SELECT r.id FROM rdm_records_metadata AS r
        WHERE r.json IS NOT NULL AND r.parent_id IN (SELECT id FROM members)) AS r)
""")
# A copy with the indexes of the original.
CREATE_SAMPLE = (
    text(
        "CREATE TEMPORARY TABLE kcworks_sample (LIKE rdm_records_metadata"
        " INCLUDING INDEXES) ON COMMIT DROP"
    ),
    # The ledger itself is not there before the upgrade.
    text(
        "CREATE TEMPORARY TABLE kcworks_sample_backup (id bigint PRIMARY KEY,"
        " run_id bigint, kind text, entity_id uuid, label text,"
        " old_created timestamptz, new_created timestamptz, source_value text,"
        " changed_at timestamptz, UNIQUE (entity_id, kind, run_id)) ON COMMIT DROP"
    ),
    text(
        "INSERT INTO kcworks_sample SELECT * FROM rdm_records_metadata"
        " WHERE json IS NOT NULL LIMIT :rows"
    ),
)
UPDATE_SAMPLE = text("""
WITH changed AS (
    UPDATE kcworks_sample SET created = created - interval '1 day'
    RETURNING id, created
)
INSERT INTO kcworks_sample_backup
    (id, run_id, kind, entity_id, label, old_created, new_created, source_value,
     changed_at)
SELECT row_number() OVER (), 0, 'record', id, 'abcde-fgh12', created, created,
       '2016-02-29T13:11:39Z', clock_timestamp() FROM changed
""")

# --- rehearsing ----------------------------------------------------------------------

COUNT_MEMBERS = text("""
SELECT community_id::text AS id, count(*) AS count FROM rdm_parents_community
WHERE community_id = ANY(CAST(:ids AS uuid[])) GROUP BY community_id
""")
SELECT_ROW_SUMS = (
    "SELECT t.id::text, t.version_id, md5((to_jsonb(t) - 'created')::text), {created}"
    " FROM {table} AS t WHERE t.id = ANY(CAST(:ids AS uuid[]))"
)
# What has found the rows of a rehearsal right since: also a run that began before it
# and went on later.
SELECT_RUN_SINCE = text("""
SELECT since.id, since.origin
FROM kcworks_created_dates_run AS rehearsal
JOIN kcworks_created_dates_run AS since
  ON since.action = 'apply' AND since.origin <> 'rehearse'
  AND since.progress_at > rehearsal.started_at
WHERE rehearsal.id = :run_id AND rehearsal.action = 'apply'
  AND rehearsal.origin = 'rehearse'
ORDER BY since.id LIMIT 1
""")
# Entries that are not restored, or wait for the index, are kept: they are work to do.
DELETE_REHEARSED_ENTRIES = text(
    "DELETE FROM kcworks_created_dates_backup WHERE run_id = :run_id"
    " AND outcome = 'restored' AND queued_at IS NOT NULL"
)
DELETE_REHEARSED_PROBLEMS = text(
    "DELETE FROM kcworks_created_dates_problem"
    " WHERE run_id IN (:run_id, :revert_id) AND reason <> 'changed_since'"
)
DELETE_RUN_WITHOUT_PROBLEMS = text(
    "DELETE FROM kcworks_created_dates_run AS r WHERE id = :run_id AND NOT EXISTS"
    " (SELECT FROM kcworks_created_dates_problem AS p WHERE p.run_id = r.id)"
)
UPDATE_REHEARSED = text("""
UPDATE kcworks_created_dates_run AS r
SET action = 'rehearse', status = 'succeeded', message = :message
WHERE id = :run_id AND NOT EXISTS (
    SELECT FROM kcworks_created_dates_backup AS b WHERE b.run_id = r.id)
""")

# --- showing -------------------------------------------------------------------------

SELECT_RUNS = text("""
SELECT id, action, origin, status, phase, statistics, progress, message, task_id,
       backend_pid, options, started_at, progress_at, stop_requested_at, finished_at
FROM kcworks_created_dates_run ORDER BY id DESC LIMIT :limit
""")
SELECT_RUN_IDS = text("SELECT id FROM kcworks_created_dates_run ORDER BY id")
SELECT_HISTORY = text("""
SELECT run_id, kind, entity_id::text AS entity_id, label, old_created, new_created,
       source_value, source_record_id::text AS source_record_id, source_record_label,
       changed_at, queued_at, restored_at, outcome
FROM kcworks_created_dates_backup
WHERE label = :label OR entity_id::text = :label ORDER BY id
""")
SELECT_PROBLEMS_OF = text("""
SELECT run_id, kind, entity_id::text AS entity_id, label, reason, value, found_at
FROM kcworks_created_dates_problem
WHERE label = :label OR entity_id::text = :label ORDER BY id
""")
# No index has the PIDs: one pass over the table.
SELECT_NAMED = {
    "record": "SELECT t.id::text FROM {table} AS t"
    " WHERE t.json->>'id' = :label OR t.id::text = :label",
    "community": "SELECT t.id::text FROM {table} AS t"
    " WHERE t.slug = :label OR t.id::text = :label",
}
SELECT_PRESENT = (
    "SELECT " + _CREATED + " FROM {table} AS t WHERE t.id = CAST(:id AS uuid)"
)
# What a rollback would leave alone; each row has the count of all of them.
SELECT_CHANGED_SINCE = (
    "SELECT b.label, t.created::text AS created, count(*) OVER () AS count"
    " FROM kcworks_created_dates_backup AS b JOIN {table} AS t ON t.id = b.entity_id"
    " WHERE b.kind = :kind AND b.outcome IS NULL"
    " AND {created} <> b.new_created" + _IS_LAST + " ORDER BY b.id LIMIT :limit"
)
SELECT_PROBLEMS = text("""
SELECT id, entity_id::text, label, kind, reason, value
FROM kcworks_created_dates_problem
WHERE run_id = :run_id AND (CAST(:reason AS text) IS NULL OR reason = :reason)
  AND id > :after
ORDER BY id LIMIT :limit
""")

# --- the documents of the index ------------------------------------------------------

# A deleted row has no document, so it is as if it were not there. The version of the
# parent tells when a record was moved to another community.
_STATE = (
    "ARRAY[p.version_id::text, v.latest_id::text, v.next_draft_id::text]"
    " FROM {table} AS t"
    " LEFT JOIN rdm_parents_metadata AS p ON p.id = t.parent_id"
    " LEFT JOIN rdm_versions_state AS v ON v.parent_id = t.parent_id"
)
_PRESENT = " WHERE t.id = ANY(CAST(:ids AS uuid[])) AND t.json IS NOT NULL"
SELECT_ROWS = {
    "record": f"SELECT t.id::text, {_CREATED}, t.version_id, {_STATE}{_PRESENT}",
    "community": f"SELECT t.id::text, {_CREATED}, t.version_id,"
    f" t.json->'parent'->>'id' FROM {{table}} AS t{_PRESENT}",
}
SELECT_DRAFT_ROWS = text(
    f"SELECT t.id::text, NULL, t.version_id, {_STATE}{_PRESENT}".format(table=DRAFTS)
)
# The problem belongs to the last run that changed the entity, or, for what only embeds
# a change, to the last run. A message that is delivered twice writes it once.
INSERT_REFUSED = text("""
WITH i AS (
    SELECT i.*, coalesce(
        (SELECT max(b.run_id) FROM kcworks_created_dates_backup AS b
         WHERE b.entity_id = i.id AND b.kind = :kind),
        (SELECT max(id) FROM kcworks_created_dates_run)) AS run_id
    FROM unnest(CAST(:ids AS uuid[]), CAST(:values AS text[])) AS i(id, value)
)
INSERT INTO kcworks_created_dates_problem
    (run_id, kind, entity_id, label, reason, value, found_at)
SELECT i.run_id, :kind, i.id, coalesce(
        (SELECT max(b.label) FROM kcworks_created_dates_backup AS b
         WHERE b.entity_id = i.id AND b.kind = :kind), i.id::text),
       'index_refused', i.value, clock_timestamp()
FROM i WHERE i.run_id IS NOT NULL AND NOT EXISTS (
    SELECT FROM kcworks_created_dates_problem AS p
    WHERE p.run_id = i.run_id AND p.entity_id = i.id AND p.reason = 'index_refused')
""")

# --- verifying -----------------------------------------------------------------------

# The entry that says what its row holds now: the last one that stands, or else the one
# that was restored last. What somebody changed before a downgrade is none of ours.
SELECT_ENTRIES_AND_ROWS = (
    """
SELECT b.id, b.label, t.id IS NOT NULL AND """
    + _CREATED
    + """ IS DISTINCT FROM
    CASE WHEN b.outcome IS NULL THEN b.new_created ELSE b.old_created END AS is_wrong
FROM kcworks_created_dates_backup AS b LEFT JOIN {table} AS t ON t.id = b.entity_id
WHERE b.kind = :kind AND b.id > :after
  AND (b.outcome IS NULL OR b.outcome = 'restored')
  AND NOT EXISTS (
    SELECT FROM kcworks_created_dates_backup AS later
    WHERE later.entity_id = b.entity_id AND later.kind = b.kind
      AND (later.outcome IS NULL AND (b.outcome IS NOT NULL OR later.id > b.id)
           OR later.outcome = 'changed_since' AND later.id > b.id
           OR b.outcome IS NOT NULL AND later.restored_at > b.restored_at))
ORDER BY b.id LIMIT :limit
"""
)
_CHANGED_COMMUNITIES = (
    "SELECT b.entity_id FROM kcworks_created_dates_backup AS b"
    " WHERE b.kind = 'community'"
)
_STALE_COMMUNITIES = (
    f"SELECT c.id FROM communities_metadata AS c WHERE c.id IN ({_CHANGED_COMMUNITIES})"
    " OR c.json->'parent'->>'id' IN"
    f" (SELECT entity_id::text FROM ({_CHANGED_COMMUNITIES}) AS e)"
)
_IN_STALE_COMMUNITIES = (
    "t.parent_id IN (SELECT m.record_id FROM rdm_parents_community AS m"
    f" WHERE m.community_id IN ({_STALE_COMMUNITIES}))"
)
_OWN = (
    "t.id IN (SELECT entity_id FROM kcworks_created_dates_backup WHERE kind = 'record')"
)
# A union and no OR: under that, PostgreSQL compares each row with each entry one by one
# as soon as these outgrow its working memory.
_HOLDING = {
    "record": (RECORDS, (_OWN, _IN_STALE_COMMUNITIES)),
    "draft": (DRAFTS, (_IN_STALE_COMMUNITIES,)),
    "community": (COMMUNITIES, (f"t.id IN ({_STALE_COMMUNITIES})",)),
}


def _holding(kind: str, rest: str = "") -> str:
    table, conditions = _HOLDING[kind]
    present = f"SELECT t.id FROM {table} AS t WHERE t.json IS NOT NULL AND "
    return " UNION ".join(f"({present}{condition}{rest})" for condition in conditions)


_NEXT_IDS = (
    " AND (CAST(:cursor AS uuid) IS NULL OR t.id > CAST(:cursor AS uuid))"
    " ORDER BY t.id LIMIT :limit"
)
SELECT_HOLDING = {
    kind: text(
        f"SELECT id::text AS id FROM ({_holding(kind, _NEXT_IDS)}) AS h"
        " ORDER BY h.id LIMIT :limit"
    )
    for kind in _HOLDING
}
COUNT_HOLDING = {
    kind: text(f"SELECT count(*) FROM ({_holding(kind)}) AS h") for kind in _HOLDING
}

# --- checking before a run -----------------------------------------------------------

# The first statement of each transaction: nothing that follows can write, and none
# takes long, neither by itself nor by waiting for a lock.
SET_READ_ONLY = text(
    "SELECT set_config('transaction_read_only', 'on', true),"
    " set_config('statement_timeout', :statement_timeout, true),"
    " set_config('lock_timeout', '1s', true), set_config('TimeZone', 'UTC', true)"
)
# `reset_val` is what a session begins with, whatever this transaction has set.
SELECT_SERVER = text("""
SELECT current_setting('server_version') AS version, current_user AS role,
       current_database() AS database, pg_is_in_recovery() AS is_standby,
       current_setting('default_transaction_read_only')::boolean AS is_read_only,
       (SELECT reset_val FROM pg_settings WHERE name = 'TimeZone') AS time_zone
""")
# Rights on a column count where the whole table's are not given.
SELECT_MISSING_RIGHTS = text("""
SELECT w.privilege, w.name
FROM unnest(CAST(:privileges AS text[]), CAST(:names AS text[])) AS w(privilege, name)
WHERE to_regclass(w.name) IS NOT NULL
  AND NOT has_table_privilege(w.name, w.privilege)
  AND NOT (w.privilege = 'UPDATE'
           AND EXISTS (SELECT FROM pg_attribute AS a
                       WHERE a.attrelid = to_regclass(w.name) AND a.attname = 'created'
                         AND has_column_privilege(a.attrelid, a.attnum, 'UPDATE')))
UNION ALL
SELECT 'USAGE', s.name FROM (
    SELECT pg_get_serial_sequence(w.name, 'id') AS name
    FROM unnest(CAST(:our_names AS text[])) AS w(name)
    WHERE to_regclass(w.name) IS NOT NULL) AS s
WHERE s.name IS NOT NULL AND NOT has_sequence_privilege(s.name, 'USAGE')
ORDER BY 2, 1
""")
SELECT_CAN_CREATE = text(
    "SELECT current_schema()::text AS schema,"
    " coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS can_create"
)
SELECT_TRIGGERS = text("""
SELECT tgrelid::regclass::text AS name, tgname::text AS trigger FROM pg_trigger
WHERE tgrelid IN (to_regclass('rdm_records_metadata'),
                  to_regclass('communities_metadata'))
  AND NOT tgisinternal AND tgenabled IN ('O', 'A') AND tgtype & 16 > 0
ORDER BY 1, 2
""")
SELECT_STAMPED = text("SELECT version_num FROM alembic_version")
SELECT_UNFINISHED_RUNS = text("""
SELECT id, action, options = CAST(:options AS jsonb) AS is_same
FROM kcworks_created_dates_run
WHERE status IN ('running', 'interrupted', 'errored') ORDER BY id DESC LIMIT 3
""")
HAS_SUCCEEDED_RUN = text(
    "SELECT EXISTS (SELECT FROM kcworks_created_dates_run"
    " WHERE action = 'apply' AND status = 'succeeded')"
)
# These locks on a table mean that the transaction has locked or changed rows of it,
# which stay locked until its end.
SELECT_LONG_TRANSACTIONS = text(f"""
SELECT a.pid, a.application_name, a.xact_start, a.state, EXISTS (
    SELECT FROM pg_locks AS l
    WHERE l.pid = a.pid AND l.granted AND l.mode IN ('RowShareLock', 'RowExclusiveLock')
      AND {_OF_THIS_DATABASE}
      AND l.relation IN (to_regclass('rdm_records_metadata'),
                         to_regclass('communities_metadata'))) AS has_rows
FROM pg_stat_activity AS a
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
  AND a.backend_type = 'client backend'
  AND a.xact_start < clock_timestamp() - make_interval(secs => :seconds)
ORDER BY a.xact_start LIMIT 3
""")
SELECT_PREPARED_TRANSACTIONS = text(
    "SELECT gid, prepared FROM pg_prepared_xacts WHERE database = current_database()"
    " ORDER BY prepared LIMIT 3"
)
# The planner's number of rows costs nothing.
SELECT_ESTIMATES = text(
    "SELECT reltuples::bigint AS rows, pg_relation_size(oid) AS bytes"
    " FROM pg_class WHERE oid = to_regclass(:table)"
)
COUNT_ROWS = "SELECT count(*) FROM {table}"
# Primary keys are random, so that the first ones are as good a sample as any.
SELECT_SAMPLE_IDS = (
    "SELECT t.id::text FROM {table} AS t"
    " WHERE (CAST(:cursor AS uuid) IS NULL OR t.id > CAST(:cursor AS uuid))"
    " ORDER BY t.id LIMIT :limit"
)
# Only who may read all settings learns where the data is; the address tells whether it
# is on this machine.
SELECT_DATA_DIRECTORY = text("""
SELECT CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE')
            THEN current_setting('data_directory') END AS folder,
       coalesce(host(inet_server_addr()), '') AS address
""")
