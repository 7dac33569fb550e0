# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What has Alembic done already, and what will it do?"""

from collections.abc import Iterable
from typing import Any

from flask import current_app

from .. import queries
from ..config import Options
from ..rules import escape
from .database import OUR_TABLES, ReadOnly
from .line import Line, fine, stop, warning

UPGRADE = "`invenio alembic upgrade kcworks_migrations@head`"
UPDATE = "`invenio kcworks-created-dates update`"


def revision(database: ReadOnly, options: Options) -> Iterable[Line]:
    """Look which of our revisions are stamped; `what_to_do` is the next command."""
    if not database.has_table("alembic_version"):
        todo = "Make the instance's database first: `invenio db init create`."
        yield stop("revision", "The database has no table alembic_version.", todo)
        return
    stamped = [row[0] for row in database.execute(queries.SELECT_STAMPED)]
    script = current_app.extensions["invenio-db"].alembic.script_directory
    known = {found.revision for found in script.walk_revisions()}
    unknown = [escape(version) for version in stamped if version not in known]
    if unknown:
        yield stop(
            "revision",
            f"No installed module has the stamped revision {', '.join(unknown)}.",
            "Install the release that has it: any `invenio alembic upgrade` fails.",
        )
        return
    # Only the last one that is done is stamped: 0 none, 1 the branch, 2 the tables.
    ours = _ours(script)
    done = next((n for n, id in enumerate(ours, 1) if id in stamped), 0)
    has_tables = [name for name in OUR_TABLES if database.has_table(name)]
    if len(has_tables) != (len(OUR_TABLES) if done > 1 else 0):
        state = "are gone" if done > 1 else "exist"
        yield stop(
            "revision",
            f"The tables kcworks_created_dates_... {state}, unlike what is stamped.",
            "Find out who did that: such tables may be all that knows old dates.",
        )
    elif done < len(ours):
        which = "Pending, the tables are there" if has_tables else "Pending"
        yield fine("revision", f"{which}: {ours[-1]}.", UPGRADE)
    elif database.execute(queries.HAS_SUCCEEDED_RUN).scalar_one():
        yield fine("revision", f"Done already: {ours[-1]}.", UPDATE)
    else:
        yield warning(
            "revision",
            f"{ours[-1]} is stamped, but no run has succeeded, as in a database that"
            " is new. Alembic would do nothing.",
            UPDATE,
        )


def _ours(script: Any) -> list[str]:
    """Give our revisions, the first one first."""
    line = []
    name = "kcworks_migrations@head"
    while found := name and script.get_revision(name):
        line.append(found.revision)
        name = found.down_revision
    return line[::-1]
