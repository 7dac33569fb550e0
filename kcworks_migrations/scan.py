# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Reads the rows that have a legacy field, in keyset pages, as frozen values."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.engine import Engine

from . import queries
from .config import Options, Since
from .database import Database, opened
from .errors import FilterError
from .rules import CommunityRow, JsonValue, RecordRow, escape

Row = RecordRow | CommunityRow

LABEL_LIMIT = 255
"""Characters that are kept of a PID or a slug."""


def check_filters(engine: Engine, options: Options) -> None:
    """Refuse what would change other rows than was meant, before anything is touched.

    Args:
        engine: The engine of the instance's database.
        options: What is asked for, by a command or a task.

    Raises:
        FilterError: The range of days is empty, or a row to leave alone is not there,
            which is a slip of the pen.
    """
    filters = options.filters
    first, last = filters.start_date, filters.end_date
    if first and last and first > last:
        raise FilterError(f"The start date, {first}, is later than the end, {last}.")
    if not filters.excluded:
        return
    timeout = options.lock_timeout_seconds
    with opened(engine, timeout, needs_ledger=False) as database:
        query, names = queries.SELECT_UNKNOWN_NAMES, list(filters.excluded)
        found = database.transaction(database.execute, query, names=names)
        unknown = found.scalars().all()
    if unknown:
        shown = ", ".join(escape(name, 60) for name in unknown[:10])
        more = f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""
        fact = f"Names to exclude that are no record and no community: {shown}{more}."
        raise FilterError(fact)


class Scan:
    """The rows of one kind that have the legacy field of that kind."""

    def __init__(
        self, database: Database, options: Options, kind: str, since: Since | None
    ) -> None:
        """Keep where to read and which fields; all rows unless only some since."""
        self._database = database
        self._kind = kind
        # Without this part no table of this package is needed, as before the upgrade.
        self._only_since = queries.SINCE if since else ""
        self._since: dict[str, Any] = {}
        if since:
            self._since = {"since": since.instant, "since_run_id": since.run_id}
        self._fields = (
            {
                "field": options.record_date_field,
                "groups_field": options.record_groups_field,
                "identifier": "group_identifier",
            }
            if kind == "record"
            else {"field": options.community_group_field}
        )

    def count(self, cursor: str | None) -> tuple[int, int]:
        """Count the rows, and those of them up to the cursor."""
        rows = self._database.execute_on(
            self._kind,
            queries.COUNT_WITH_FIELD + self._only_since,
            field=self._fields["field"],
            cursor=cursor,
            **self._since,
        )
        total, done = rows.one()
        return total, done

    def page(
        self, cursor: str | None, limit: int, last: str | None = None
    ) -> list[Row]:
        """Read the next rows behind the cursor.

        Args:
            cursor: The last primary key that was read; none to begin.
            limit: The most rows to read.
            last: The last primary key to read; none for no end.

        Returns:
            The rows by ascending primary key; none at the end of the table.
        """
        return self._read(
            self._only_since + queries.NEXT_PAGE,
            cursor=cursor,
            limit=limit,
            last=last,
            **self._since,
        )

    def by_ids(self, ids: Sequence[str]) -> list[Row]:
        """Read the rows with these primary keys that still have the field."""
        return self._read(queries.BY_IDS, ids=list(ids))

    def _read(self, which: str, **values: Any) -> Any:
        query = queries.SELECT_WITH_FIELD[self._kind] + which
        rows = self._database.execute_on(self._kind, query, **self._fields, **values)
        return [_RECEIVE[self._kind](*row) for row in rows.fetchall()]


def _record_row(
    id: str,
    label: str,
    created: Any,
    version_index: int | None,
    fields_type: str | None,
    fields_text: str | None,
    date_type: str | None,
    date_text: str | None,
    groups_type: str | None,
    groups_text: str | None,
    group_entries: list[list[str | None]] | None,
) -> RecordRow:
    return RecordRow(
        id,
        escape(label, LABEL_LIMIT),
        created,
        version_index,
        JsonValue(fields_type, fields_text),
        JsonValue(date_type, date_text),
        JsonValue(groups_type, groups_text),
        tuple([
            (JsonValue(a, b), JsonValue(c, d)) for a, b, c, d in group_entries or ()
        ]),
    )


def _community_row(
    id: str,
    label: str,
    created: Any,
    fields_type: str | None,
    fields_text: str | None,
    group_type: str | None,
    group_text: str | None,
) -> CommunityRow:
    return CommunityRow(
        id,
        escape(label, LABEL_LIMIT),
        created,
        JsonValue(fields_type, fields_text),
        JsonValue(group_type, group_text),
    )


_RECEIVE: dict[str, Any] = {"record": _record_row, "community": _community_row}
