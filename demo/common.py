# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What the modules of the demo's services share: folders, messages, the error."""

import hashlib
import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
RUN = HERE / ".run"
_CHECKOUT = hashlib.sha256(bytes(HERE)).hexdigest()[:8]
DATA = Path(tempfile.gettempdir()) / f"kcworks-migrations-{os.getuid()}-{_CHECKOUT}"
"""Data of the servers: users such as ``postgres`` cannot look below ``/root``."""


class Failure(Exception):
    """Something is missing or broken; the message says what to do."""


def say(message: str) -> None:
    """Tell the person what happens now."""
    print(f"services: {message}", file=sys.stderr, flush=True)


def private_folder() -> Path:
    """Create the data folder, and refuse one that somebody else has prepared.

    Returns:
        The folder.

    Raises:
        Failure: The folder belongs to another user.
    """
    DATA.mkdir(mode=0o711, exist_ok=True)
    if DATA.is_symlink() or DATA.stat().st_uid != os.getuid():
        raise Failure(f"{DATA} belongs to somebody else; remove it or set TMPDIR")
    return DATA
