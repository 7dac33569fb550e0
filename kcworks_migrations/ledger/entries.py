# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The two statements that write to the instance's tables: change and restoration.

Nothing else in this package writes to a table of the instance.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from ..database import Database
from ..errors import CreatedDatesError
from ..kinds import Kind
from ..rules.values import Change
from .standing import Selection, reachable

# The change and its entry are one statement, so neither can be without the other.
# A row that somebody holds is left out instead of waited for, and so is a row that is
# no longer what the decision was made on: whoever calls compares the ids it gets back.
# Each column comes as one text with a line per row: the driver needs longer to adapt
# a thousand values one by one than the database to change the rows. `(SELECT ...)`
# hides the length of the arrays: a planner that knows it reads the whole table for each
# batch as long as that is not much larger than a hundred batches. What a row became is
# read back: a trigger or the type of the column may have made it something else.
UPDATE_CREATED_AND_BACK_UP = r"""
WITH i AS (
    SELECT * FROM unnest(
        CAST((SELECT string_to_array(:ids, E'\n')) AS uuid[]),
        (SELECT string_to_array(:labels, E'\n')),
        CAST((SELECT string_to_array(:old_created, E'\n')) AS timestamptz[]),
        CAST((SELECT string_to_array(:new_created, E'\n')) AS timestamptz[]),
        (SELECT string_to_array(:source_values, E'\n')),
        CAST((SELECT string_to_array(:source_record_ids, E'\n', '')) AS uuid[]),
        (SELECT string_to_array(:source_record_labels, E'\n', '')),
        CAST((SELECT string_to_array(:decisions, E'\n', '')) AS jsonb[])
    ) AS i(id, label, old_created, new_created,
           source_value, source_record_id, source_record_label, decision)
), free AS (
    SELECT i.* FROM {table} AS t JOIN i ON i.id = t.id
    WHERE t.created = (i.old_created{convert}) FOR NO KEY UPDATE OF t SKIP LOCKED
), changed AS (
    UPDATE {table} AS t SET created = (i.new_created{convert}) FROM free AS i
    WHERE t.id = i.id AND t.created = (i.old_created{convert})
    RETURNING i.*, CASE WHEN t.created IS DISTINCT FROM (i.new_created{convert})
                        THEN t.created::text END AS became
), entered AS (
    INSERT INTO kcworks_created_dates_backup
        (run_id, kind, entity_id, label, old_created, new_created,
         source_value, source_record_id, source_record_label,
         source, source_file, source_sha256, note, changed_at, queued_at)
    SELECT :run_id, :kind, i.id, i.label, i.old_created, i.new_created,
           i.source_value, i.source_record_id, i.source_record_label,
           coalesce(i.decision->>'source', 'field'),
           i.decision->>'file', i.decision->>'sha256', i.decision->>'note',
           clock_timestamp(),
           -- Nothing becomes stale by a decision for the present date.
           CASE WHEN i.old_created = i.new_created THEN clock_timestamp() END
    FROM changed AS i WHERE i.became IS NULL ORDER BY i.id
    RETURNING entity_id
)
SELECT entity_id::text, true AS is_done, NULL AS became FROM entered
UNION ALL
SELECT id::text, false, became FROM changed
WHERE became IS NOT NULL OR id NOT IN (SELECT entity_id FROM entered)
UNION ALL
SELECT id::text, false, NULL FROM free WHERE id NOT IN (SELECT id FROM changed)
"""

# Restored is only what still has the value that the migration gave it. A row that
# somebody holds keeps its entry open; one that is gone or was changed closes it.
# Linear whatever the planner believes of a ledger that has just grown: each step takes
# all that it needs from the one before, and `IN` looks into a hash table, where a join
# would compare each row of the batch with each other as soon as one is expected. The
# length of the array is hidden as above, or each batch would read a whole index.
RESTORE_CREATED = """
WITH i AS (
    SELECT b.id AS entry_id, b.entity_id AS id, b.label, b.old_created, b.new_created
    FROM kcworks_created_dates_backup AS b
    WHERE b.id = ANY((SELECT CAST(:entry_ids AS bigint[]))::bigint[])
      AND b.outcome IS NULL
), free AS (
    SELECT i.*, (t.created{convert}) AS present_created
    FROM {table} AS t JOIN i ON i.id = t.id FOR NO KEY UPDATE OF t SKIP LOCKED
), restored AS (
    UPDATE {table} AS t SET created = (i.old_created{convert}) FROM free AS i
    WHERE t.id = i.id AND t.created = (i.new_created{convert})
    RETURNING i.entry_id, CASE WHEN t.created IS DISTINCT FROM (i.old_created{convert})
                               THEN t.created::text END AS became
), outcomes AS (
    SELECT i.*, CASE WHEN i.present_created IS DISTINCT FROM i.new_created
                     THEN 'changed_since'
                     WHEN i.entry_id IN (SELECT entry_id FROM restored
                                         WHERE became IS NULL)
                     THEN 'restored' ELSE 'refused' END AS outcome
    FROM free AS i
    UNION ALL
    SELECT i.*, NULL,
           CASE WHEN NOT EXISTS (SELECT FROM {table} AS t WHERE t.id = i.id)
                THEN 'deleted' END
    FROM i WHERE i.entry_id NOT IN (SELECT entry_id FROM free)
), closed AS (
    UPDATE kcworks_created_dates_backup AS b
    SET outcome = o.outcome,
        restored_at = CASE WHEN o.outcome = 'restored' THEN clock_timestamp() END,
        queued_at = CASE WHEN o.outcome <> 'restored' THEN b.queued_at END
    FROM outcomes AS o WHERE b.id = o.entry_id AND o.outcome IS NOT NULL
)
SELECT entry_id, id::text, label, old_created, new_created,
       CASE WHEN outcome = 'refused'
            THEN (SELECT r.became FROM restored AS r WHERE r.entry_id = o.entry_id)
            ELSE present_created::text END, outcome
FROM outcomes AS o ORDER BY entry_id
"""


class Written(NamedTuple):
    """The rows of changes by their ids; the others are locked."""

    done: set[str]
    refused: dict[str, str | None]
    """What each became instead and is no more; none if it was not written."""


class Restoration(NamedTuple):
    """What became of one entry that was to be restored; no outcome: it is locked."""

    entry_id: int
    id: str
    label: str
    old_created: Any
    new_created: Any
    present_created: str | None
    """Of one that was refused, what the row became instead; none if it stayed."""
    outcome: str | None
    """``restored``, ``changed_since`` or ``deleted``; ``refused`` stays open."""


def write(
    database: Database, run_id: int, kind: Kind, changes: Sequence[Change]
) -> Written:
    """Change `created` of the rows and make an entry for each, in one statement.

    Args:
        database: The connection, in the transaction of the batch.
        run_id: The run.
        kind: Records or communities.
        changes: The changes; the old value of each guards it.

    Returns:
        What became of them. Rows that it lacks are locked, gone, or no longer what they
        were when the decision was made.
    """
    refused: dict[str, str | None] = {}
    while asked := [c for c in changes if c.id not in refused]:
        savepoint = database.savepoint()
        written = _write(database, run_id, kind, asked)
        if not written.refused:
            savepoint.commit()
            return Written(written.done, refused)
        savepoint.rollback()
        refused |= written.refused
    return Written(set(), refused)


def _write(
    database: Database, run_id: int, kind: Kind, changes: Sequence[Change]
) -> Written:
    """Write changes; return what became of them, or raise if others were written."""
    rows = database.execute_on(
        kind,
        UPDATE_CREATED_AND_BACK_UP,
        run_id=run_id,
        kind=kind.name,
        ids="\n".join([c.id for c in changes]),
        labels="\n".join([c.label for c in changes]),
        old_created="\n".join([c.old_created.isoformat() for c in changes]),
        new_created="\n".join([c.new_created.isoformat() for c in changes]),
        source_values="\n".join([c.source_value for c in changes]),
        source_record_ids=_lines([c.source_record_id for c in changes]),
        source_record_labels=_lines([c.source_record_label for c in changes]),
        decisions=_lines([_decision(c) for c in changes]),
    ).fetchall()
    done = {id for id, is_done, _ in rows if is_done}
    if not done <= {c.id for c in changes}:
        _refuse(len(changes), len(done))
    return Written(done, {id: became for id, is_done, became in rows if not is_done})


def _lines(values: list[str | None]) -> str | None:
    """Join values, a line for each change; give none if no change has one."""
    return "\n".join([value or "" for value in values]) if any(values) else None


def _decision(change: Change) -> str | None:
    """Give what an entry keeps of the line of a plan, as JSON on one line."""
    if (line := change.decided or change.approved) is None:
        return None
    # Only a decision stands against a later run.
    kept = {"source": "plan" if change.decided else "field", "file": line.file}
    return json.dumps(kept | {"sha256": line.sha256, "note": line.note})


def restore(
    database: Database, selection: Selection, kind: Kind, before: int | None, limit: int
) -> list[Restoration]:
    """Restore the next changes that stand, newest first, and close their entries.

    Args:
        database: The connection, in the transaction of the batch.
        selection: Which changes.
        kind: Records or communities.
        before: The entry below which to go on; none to begin.
        limit: The most entries to restore.

    Returns:
        What became of each entry, the oldest first; none at the end.

    Raises:
        CreatedDatesError: Not every entry came back.
    """
    entry_ids = reachable(database, selection, kind, before, limit)
    refused: list[Restoration] = []
    while entry_ids:
        savepoint = database.savepoint()
        rows = database.execute_on(kind, RESTORE_CREATED, entry_ids=entry_ids)
        found = [Restoration(*row) for row in rows]
        if len(found) != len(entry_ids):
            _refuse(len(entry_ids), len(found))
        entry_ids = [r.entry_id for r in found if r.outcome != "refused"]
        if len(entry_ids) == len(found):
            savepoint.commit()
            return sorted(found + refused)
        savepoint.rollback()
        refused += [r for r in found if r.outcome == "refused"]
    return sorted(refused)


def _refuse(expected_rows: int, actual_rows: int) -> NoReturn:
    """Refuse a batch whose statement wrote other rows than it was told to.

    Raises:
        CreatedDatesError: In any case; the batch is rolled back.
    """
    raise CreatedDatesError(
        f"{expected_rows} rows were to be written and {actual_rows} were. The batch"
        " was rolled back.",
        "Run the same command again, and report this if it happens again.",
    )
