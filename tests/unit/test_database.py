# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What the drivers of the database say, old and new ones."""

import pytest
from sqlalchemy.exc import OperationalError

from kcworks_migrations.database import LOCK_NOT_AVAILABLE, is_lock_timeout

OTHER = "53300"
"""Too many connections."""


class Psycopg2Error(Exception):
    """An error as psycopg 2 has it."""

    def __init__(self, code: str | None) -> None:
        self.pgcode = code


class PsycopgError(Exception):
    """An error as psycopg 3 has it."""

    def __init__(self, code: str | None) -> None:
        self.sqlstate = code


@pytest.mark.parametrize("driver", [Psycopg2Error, PsycopgError])
@pytest.mark.parametrize("code", [LOCK_NOT_AVAILABLE, OTHER, None])
def test_is_lock_timeout_reads_the_code_of_either_driver(driver, code):
    error = OperationalError("SELECT 1", {}, driver(code))
    assert is_lock_timeout(error) == (code == LOCK_NOT_AVAILABLE)


def test_is_lock_timeout_knows_no_other_errors():
    assert not is_lock_timeout(RuntimeError(LOCK_NOT_AVAILABLE))
    assert not is_lock_timeout(OperationalError("SELECT 1", {}, Exception()))
