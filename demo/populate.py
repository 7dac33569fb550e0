# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Make a new instance ready for records and communities, in one start of the app.

Run by ``create_instance`` (``setup.sh``) right after ``invenio db init create``.
"""

import shlex
from pathlib import Path

import invenio_rdm_records.fixtures
import mark
from flask.cli import ScriptInfo
from invenio_access.permissions import system_identity
from invenio_app.cli import cli
from invenio_app.factory import create_app
from invenio_db import db
from invenio_rdm_records.fixtures.vocabularies import VocabulariesFixture
from invenio_records_resources.proxies import current_service_registry
from invenio_search import current_search_client
from invenio_search.utils import prefix_index

COMMANDS = """
invenio files location create --default default-location {files}
invenio roles create admin
invenio access allow superuser-access role admin
invenio index init
invenio rdm-records custom-fields init
invenio communities custom-fields init
invenio queues declare
"""

# All entries would be thousands, loaded by a worker for minutes; these are enough to
# create, publish and delete records and communities.
ALL = None
VOCABULARIES = {
    "resourcetypes": {
        "dataset",
        "image",
        "other",
        "publication",
        "publication-article",
        "publication-book",
        "publication-conferencepaper",
        "software",
    },
    "languages": {"deu", "eng", "fra", "spa"},
    "licenses": {"cc-by-4.0", "cc0-1.0"},
    "creatorsroles": ALL,
    "contributorsroles": ALL,
    "titletypes": ALL,
    "descriptiontypes": ALL,
    "datetypes": ALL,
    "removalreasons": ALL,
    "communitytypes": ALL,
}


def run(app, command: str) -> None:
    """Run one command line of ``invenio`` on the app that is already there."""
    print(f"$ {command}", flush=True)
    script = ScriptInfo(create_app=lambda: app)
    arguments = shlex.split(command)[1:]
    cli.main(arguments, "invenio", obj=script, standalone_mode=False)


def load_vocabularies() -> None:
    """Create every type of vocabulary, and the few entries that are needed."""
    folder = Path(invenio_rdm_records.fixtures.__file__).parent / "data"
    fixture = VocabulariesFixture(system_identity, folder / "vocabularies.yaml")
    for name, vocabulary in fixture.read():
        vocabulary.pre_load(system_identity, ignore=set())
        if name not in VOCABULARIES:
            continue
        wanted = VOCABULARIES[name]
        service = current_service_registry.get(vocabulary.service_str)
        for entry in vocabulary.iterate(ignore=set()):
            if wanted is ALL or entry["id"] in wanted:
                service.create(system_identity, entry)
    db.session.commit()


def create_statistics_indices() -> None:
    """Create empty indices of usage, as without any the app warns at each record."""
    for name in ("stats-record-view", "stats-file-download"):
        current_search_client.indices.create(index=prefix_index(f"{name}-none"))


def main() -> None:
    """Run the commands, then load the vocabularies."""
    mark.require()
    app = create_app()
    files = Path(app.instance_path) / "data"
    files.mkdir(parents=True, exist_ok=True)
    for command in COMMANDS.format(files=shlex.quote(str(files))).strip().splitlines():
        run(app, command)
    print("loading vocabularies", flush=True)
    with app.app_context():
        create_statistics_indices()
        load_vocabularies()


if __name__ == "__main__":
    main()
