# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Which databases may be emptied: those that `create_instance` (`setup.sh`) has made.

They are marked in the database itself. A name in the environment says nothing: inside
an application it is that of the real one.
"""

import os
import sys

from clients import database_name, is_marked
from common import Failure

URI = "INVENIO_SQLALCHEMY_DATABASE_URI"


def refusal() -> str | None:
    """Return why the instance in use may not be written to; none if it may."""
    uri = os.environ.get(URI)
    if not uri:
        return f"No instance is in use: {URI} is not set. {NEXT}"
    try:
        if is_marked(uri):
            return None
        what = "was not made by demo/setup.sh, so it is not emptied"
    except Failure as error:
        what = f"can't be asked whether demo/setup.sh has made it ({error})"
    return f"The database {database_name(uri)} {what}. Nothing was written. {NEXT}"


NEXT = (
    f"./run-tests.sh and ./run-demo.sh make instances of their own; `env -u {URI}"
    " ./run-checks.sh` needs none."
)


def require() -> None:
    """End this program unless the instance in use may be written to."""
    if told := refusal():
        sys.exit(f"error: {told}")


if __name__ == "__main__":
    require()
