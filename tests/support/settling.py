# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Lets time pass, and the index settle, without waiting."""

from contextlib import suppress

import sample as demo_sample
import snapshot
from invenio_db import db
from invenio_search import current_search_client
from invenio_search.engine import search
from invenio_search.utils import prefix_index
from show import differences

from kcworks_migrations.tasks import settle_created_dates_task
from support import index
from support.instance import OURS, Instance

INSTANTS = {
    "run": ("started_at", "progress_at", "finished_at", "settled_at", "next_look_at"),
    "backup": ("changed_at", "queued_at", "restored_at"),
}


def later(instance: Instance, minutes: float = 10.01) -> None:
    """Move everything that the ledger knows of into the past."""
    past = f"interval '{minutes} minutes'"
    for table, names in INSTANTS.items():
        moved = ", ".join(f"{name} = {name} - {past}" for name in names)
        instance.execute(f"UPDATE {OURS}{table} SET {moved}")
    instance.execute(
        f"UPDATE {OURS}run SET settling = settling || jsonb_build_object('written_at',"
        f" CAST(settling->>'written_at' AS timestamptz) - {past})"
        " WHERE settling ? 'written_at'"
    )


def lose_messages(instance: Instance) -> None:
    """Throw away what waits for a worker."""
    assert index.waiting() > 0
    instance.empty_queues()


def tick() -> None:
    """Do what a worker does at each tick; documents can be found from then on."""
    for name in ("rdmrecords", "communities"):
        with suppress(search.exceptions.ConnectionError):  # it may be down on purpose
            current_search_client.indices.refresh(index=prefix_index(name))
    db.session.remove()
    settle_created_dates_task()


def settle(instance: Instance, ticks: int = 20) -> int:
    """Let time pass until the ledger is settled; give how many looks it took."""
    looks = 0
    for _ in range(ticks):
        later(instance)
        before = instance.run().next_look_at
        tick()
        run = instance.run()
        looks += run.next_look_at != before
        if run.settled_at:
            return looks
    raise AssertionError(f"not settled after {looks} looks: {instance.run().settling}")


def assert_as_after_full_reindex() -> None:
    """Check every document, leaf by leaf, against what the services make."""
    found = snapshot.documents()
    db.session.remove()
    demo_sample.index_all()
    assert list(differences(snapshot.documents(), found)) == []
