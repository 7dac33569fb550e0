# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""``rollback``: the old dates back without moving Alembic."""

import click
from flask.cli import with_appcontext
from invenio_db import db

from .. import migration
from .common import ask, exit_with


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_appcontext
def rollback(yes: bool) -> None:
    """Put the old dates back without moving Alembic.

    For an upgrade that was left half finished; otherwise use
    `invenio alembic downgrade kcworks_migrations@-1`, which does the same.
    """
    ask("Put all old created dates back?", yes)
    exit_with(migration.revert(db.engine, origin="cli"))
