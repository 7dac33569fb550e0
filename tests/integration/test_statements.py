# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Exactly two statements of a run write to tables of the instance.

PostgreSQL itself says what each statement would write: its plan names the tables.
"""

import json
import re
from contextlib import contextmanager
from typing import NamedTuple

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import Engine
from support.faults import Point, at, fill, other_connection
from support.instance import OURS

from kcworks_migrations.instance import CONVERSIONS
from kcworks_migrations.kinds import DATED

PLANNED = re.compile(r"\s*(SELECT|WITH|INSERT|UPDATE|DELETE|MERGE|DECLARE|VALUES)\b")
HARMLESS = re.compile(
    r"\s*(FETCH \d+ FROM kcworks_created_dates_pages"
    r"|CLOSE kcworks_created_dates_pages"
    r"|(RELEASE |ROLLBACK TO )?SAVEPOINT sa_savepoint_\d+"
    r"|ANALYZE kcworks_created_dates_backup)\s*$"
)
"""What PostgreSQL makes no plan for."""

CHANGE = f"INSERT INTO {OURS}backup"
RESTORE = f"UPDATE {OURS}backup AS b"
TABLES = {kind.table for kind in DATED}


class Write(NamedTuple):
    """A statement that writes, as its table and its conversion would make any."""

    statement: str
    tables: frozenset[str]
    """The tables that it writes."""


def tables_written(plan) -> set[str]:
    """Give the tables that a plan writes."""
    written = {plan["Relation Name"]} if plan["Node Type"] == "ModifyTable" else set()
    return written.union(*map(tables_written, plan.get("Plans", ())))


def normalised(statement: str) -> str:
    """Make one text of a statement on either table, with either type of `created`."""
    for kind in DATED:
        statement = statement.replace(kind.table, "{table}")
    for convert in filter(None, CONVERSIONS.values()):
        statement = statement.replace(convert, "")
    return " ".join(statement.split())


@contextmanager
def watched(instance):
    """Notice every write of every connection of this process.

    Yields:
        The set of writes, and the list of what was neither planned nor harmless.
    """
    writes: set[Write] = set()
    unknown: list[str] = []
    asking = other_connection(instance)
    asking.autocommit = True
    cursor_asking = asking.cursor()

    def look(connection, cursor, statement, parameters, context, is_many) -> None:
        if not PLANNED.match(statement):
            if not HARMLESS.match(statement):
                unknown.append(statement)
            return
        for values in parameters if is_many else [parameters]:
            cursor_asking.execute(f"EXPLAIN (FORMAT JSON) {statement}", values)
            [[plans]] = cursor_asking.fetchall()
            plans = json.loads(plans) if isinstance(plans, str) else plans
            if tables := frozenset(tables_written(plans[0]["Plan"])):
                writes.add(Write(normalised(statement), tables))

    event.listen(Engine, "before_cursor_execute", look)
    try:
        yield writes, unknown
    finally:
        event.remove(Engine, "before_cursor_execute", look)
        asking.close()


def up_and_down(instance) -> None:
    """Do all that a run may have to do, both ways, with rows that somebody holds."""
    somebody = other_connection(instance)  # whose statements are not watched
    cursor = somebody.cursor()

    def hold() -> None:
        for kind in DATED:
            cursor.execute(f"SELECT FROM {kind.table} ORDER BY id LIMIT 2 FOR UPDATE")

    def release(connection) -> None:
        somebody.rollback()

    hold()
    coming_back = Point("before", f"DELETE FROM {OURS}problem")
    with at(instance.engine, coming_back, release):
        instance.upgrade(batch_size=50)
    cursor.execute(f"SELECT entity_id FROM {OURS}backup ORDER BY id LIMIT 2")
    changed, gone = [row[0] for row in cursor.fetchall()]
    created = "UPDATE rdm_records_metadata SET created = '2020-02-02' WHERE id = %s"
    cursor.execute(created, [changed])
    cursor.execute("DELETE FROM rdm_records_metadata WHERE id = %s", [gone])
    somebody.commit()
    hold()
    with at(instance.engine, Point("committed", RESTORE, 2), release):
        instance.downgrade()
    cursor.execute(f"SELECT DISTINCT outcome FROM {OURS}backup ORDER BY outcome")
    assert cursor.fetchall() == [("changed_since",), ("deleted",), ("restored",)]
    somebody.close()
    instance.upgrade()
    instance.upgrade()  # with nothing left to be done
    instance.preview()


def check_writes(writes, unknown) -> None:
    """Check that the two are there, and nothing else writes but to our own tables."""
    assert unknown == []
    of_instance = {write for write in writes if not is_ours(write)}
    texts = {write.statement for write in of_instance}
    # One text for both kinds each: the change and the restoration.
    assert len(texts) == 2, "\n\n".join(texts)
    for text_of_one in texts:
        written = {w.tables - {f"{OURS}backup"} for w in writes if w[0] == text_of_one}
        assert written == {frozenset([table]) for table in TABLES}
        # `created` alone, under the guard of the value that it had.
        [update] = re.findall(r"UPDATE \{table\} AS t SET (.*?) FROM", text_of_one)
        assert re.fullmatch(r"created = \(i\.(old|new)_created\)", update)
        guard = r"WHERE t\.id = i\.id AND t\.created = \(i\.(old|new)_created\)"
        assert re.search(guard, text_of_one)
    for write in writes - of_instance:
        assert OURS in write.statement


def is_ours(write: Write) -> bool:
    return all(table.startswith(OURS) for table in write.tables)


@pytest.fixture
def filled(instance):
    fill(instance, 200, 6)
    return instance


def test_two_statements_write_to_the_instance_on_the_way_up_and_down(filled):
    with watched(filled) as (writes, unknown):
        up_and_down(filled)
    check_writes(writes, unknown)
    # The watching itself works: it has seen runs, problems, entries and marks.
    assert frozenset().union(*(w.tables for w in writes)) == {
        *(f"{OURS}{name}" for name in ("run", "backup", "problem")),
        *TABLES,
    }


@pytest.mark.parametrize(
    "third",
    [
        "UPDATE communities_metadata SET updated = updated WHERE false",
        "UPDATE rdm_records_metadata AS t SET created = t.created WHERE false",
        "WITH gone AS (DELETE FROM rdm_drafts_metadata RETURNING id) SELECT 1",
        "INSERT INTO rdm_parents_metadata SELECT * FROM rdm_parents_metadata LIMIT 0",
        "TRUNCATE rdm_drafts_metadata CASCADE",
        "LOCK TABLE rdm_drafts_metadata",
    ],
)
def test_a_third_statement_is_noticed(filled, third):
    def write(connection) -> None:
        connection.execute(text(third))

    with watched(filled) as (writes, unknown):
        with at(filled.engine, Point("after", CHANGE), write):
            up_and_down(filled)
    noticed = {write.statement for write in writes} | set(unknown)
    assert normalised(third) in noticed or third in noticed
    with pytest.raises(AssertionError):
        check_writes(writes, unknown)
