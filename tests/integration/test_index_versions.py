# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Documents as Invenio leaves them: their dates are right, what they embed is older.

Invenio does not index what embeds something that was edited, nor all versions of a
record when one is published. That is its own affair, and the dates are ours.
"""

import io
from types import SimpleNamespace

import pytest
import sample as demo_sample
import snapshot
from invenio_access.permissions import system_identity
from invenio_communities.proxies import current_communities
from invenio_db import db
from invenio_rdm_records.proxies import current_rdm_records_service
from show import differences
from support import deposits, index

DATES = ("2011-02-03T04:05:06Z", "2012-02-03T04:05:06Z")


@pytest.fixture
def world(instance):
    """Two records in a community of their group, with documents; nothing waits."""
    deposits.empty_index()
    instance.execute("DELETE FROM oaiserver_set")  # of communities of other tests
    with deposits.no_tasks():
        community = str(deposits.create_community("group", "77").id)
        pids = [deposits.publish(f"Of {date}", date, "77").id for date in DATES]
        for pid in pids:
            deposits.add_to_community(community, pid)
    index.drain()
    return SimpleNamespace(instance=instance, community=community, pid=pids[0])


def edit_community(world) -> None:
    deposits.edit_community(world.community, "Another title")


def new_logo(world) -> None:
    logo = b"not an image, which nobody looks at"
    current_communities.service.update_logo(
        system_identity, world.community, io.BytesIO(logo), content_length=len(logo)
    )


def third_version(world) -> None:
    """Begin a third version, which leaves the first one's document behind."""
    second = deposits.new_version(world.pid, DATES[1])
    index.drain()
    current_rdm_records_service.new_version(system_identity, second.id)


CHANGES = {
    change.__name__: change for change in (edit_community, new_logo, third_version)
}


def leave_behind(world, change) -> None:
    """Change something and let Invenio index what it wants to."""
    with deposits.no_tasks():
        change(world)
    index.drain()


def documents(kinds=("record ", "draft ", "community ")) -> dict[str, dict]:
    """Give the documents of some kinds."""
    found = snapshot.documents()
    return {key: found[key] for key in found if key.startswith(kinds)}


def index_all() -> None:
    """Let the instance's own code make every document from the database."""
    db.session.remove()
    demo_sample.index_all()


def except_for_dates(before, after) -> list[str]:
    """Give the leaves that changed, except the dates."""
    return [line for line in differences(before, after) if ".created: " not in line]


@pytest.mark.parametrize("change", CHANGES)
def test_verify_finds_a_document_right_whose_dates_are(world, invoke, change):
    world.instance.upgrade()
    index.drain()
    assert not index.stale_documents(world.instance)
    assert invoke("verify").exit_code == 0
    leave_behind(world, CHANGES[change])
    assert not index.stale_documents(world.instance)
    result = invoke("verify")
    before = documents()
    index_all()
    assert documents() != before, "Invenio left nothing behind"
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("change", CHANGES)
def test_upgrade_changes_the_dates_alone_in_what_invenio_left_behind(world, change):
    leave_behind(world, CHANGES[change])
    before = documents("record ")
    world.instance.upgrade()
    index.drain()
    assert not index.stale_documents(world.instance)
    found = documents("record ")
    index_all()
    assert except_for_dates(before, documents("record ")), "Invenio left nothing behind"
    # What the ordinary indexer makes anew, much more slowly, is as new as its rows.
    assert except_for_dates(before, found) == []
