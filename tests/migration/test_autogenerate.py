# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The models, the revision and the instance have the same three tables."""

import importlib.util
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Table, text

REVISION = "a94c06be7d15_create_created_dates_tables.py"
OURS = (
    "kcworks_created_dates_backup",
    "kcworks_created_dates_problem",
    "kcworks_created_dates_run",
)


@pytest.fixture(scope="module")
def metadata(app):
    """The metadata of all models of the instance."""
    from invenio_db import db

    return db.metadata


@pytest.fixture
def connection(engine):
    """A connection whose transaction is rolled back: the instance stays as it is."""
    with engine.connect() as connection:
        transaction = connection.begin()
        connection.execute(text("SET LOCAL lock_timeout = '30s'"))
        yield connection
        transaction.rollback()


@pytest.fixture
def revision(monkeypatch):
    """The revision of the tables, as Alembic loads it: from its file."""
    import kcworks_migrations

    path = Path(kcworks_migrations.__file__).parent / "alembic" / REVISION
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # Called outside of Alembic, on a schema that has no stamps.
    monkeypatch.setattr(module, "_look_again", lambda wanted: None)
    return module


def make_schema(connection, name: str) -> None:
    """Make a schema, in which what follows makes its tables."""
    connection.execute(text(f"CREATE SCHEMA {name}"))
    connection.execute(text(f"SET LOCAL search_path = {name}"))


def make_by_models(connection, metadata) -> None:
    tables = [metadata.tables[name] for name in OURS]
    metadata.create_all(connection, tables=tables, checkfirst=False)


def make_by_revision(connection, metadata, revision) -> None:
    context = MigrationContext.configure(connection, opts={"target_metadata": metadata})
    with Operations.context(context):
        revision.upgrade()


def tables_of(connection, schema: str) -> dict[str, list[tuple]]:
    """Give all that the catalogue knows of our tables in a schema."""
    queries = {
        "tables": "SELECT table_name, table_type FROM information_schema.tables"
        " WHERE table_schema = :schema",
        "columns": "SELECT table_name, ordinal_position, column_name, data_type,"
        " udt_name, is_nullable, column_default, character_maximum_length,"
        " datetime_precision, is_identity FROM information_schema.columns"
        " WHERE table_schema = :schema",
        "indexes": "SELECT tablename AS table_name, indexname, indexdef FROM pg_indexes"
        " WHERE schemaname = :schema",
        "constraints": "SELECT c.conrelid::regclass::text AS table_name, c.conname,"
        " c.contype::text, pg_get_constraintdef(c.oid) FROM pg_constraint AS c"
        " JOIN pg_namespace AS n ON n.oid = c.connamespace WHERE n.nspname = :schema",
        "sequences": "SELECT sequence_name AS table_name, data_type, increment"
        " FROM information_schema.sequences WHERE sequence_schema = :schema",
    }
    # Nothing is in the path, so that every name comes with its schema.
    connection.execute(text("SET LOCAL search_path = pg_catalog"))
    found = {}
    for what, query in queries.items():
        rows = connection.execute(text(query), {"schema": schema}).fetchall()
        bare = [
            tuple(v.replace(f"{schema}.", "") if isinstance(v, str) else v for v in row)
            for row in rows
        ]
        found[what] = sorted(
            (row for row in bare if row[0].startswith("kcworks_")), key=str
        )
    return found


def test_tables_by_models_equal_those_by_revision(connection, metadata, revision):
    make_schema(connection, "by_models")
    make_by_models(connection, metadata)
    make_schema(connection, "by_revision")
    make_by_revision(connection, metadata, revision)

    by_models = tables_of(connection, "by_models")

    assert [row[0] for row in by_models["tables"]] == list(OURS)
    assert tables_of(connection, "by_revision") == by_models
    # The comparison did see columns, indexes and constraints of all three.
    for what in ("columns", "indexes", "constraints"):
        assert {row[0] for row in by_models[what]} == set(OURS), what


def test_tables_of_instance_equal_those_by_models(connection, metadata):
    make_schema(connection, "by_models")
    make_by_models(connection, metadata)

    of_instance = tables_of(connection, "public")

    assert of_instance == tables_of(connection, "by_models")


def test_tables_are_named_with_the_prefix(metadata):
    ours = {
        mapper.local_table.name
        for mapper in _mappers()
        if mapper.class_.__module__.startswith("kcworks_migrations")
    }

    assert ours == set(OURS)
    assert ours == {name for name in metadata.tables if name.startswith("kcworks_")}


def _mappers():
    from invenio_db import db

    return db.Model.registry.mappers


def test_tables_have_instants_with_time_zone_only(connection):
    columns = tables_of(connection, "public")["columns"]

    types = {row[3] for row in columns if row[2].endswith(("_at", "_created"))}
    assert types == {"timestamp with time zone"}
    assert "timestamp without time zone" not in {row[3] for row in columns}


def test_tables_refer_to_no_table_of_the_instance(connection):
    constraints = tables_of(connection, "public")["constraints"]

    references = [row[3] for row in constraints if row[2] == "f"]
    assert len(references) == 2
    assert all("REFERENCES kcworks_created_dates_run(id)" in r for r in references)


def test_downgrade_of_the_revision_leaves_nothing(connection, metadata, revision):
    make_schema(connection, "by_revision")
    make_by_revision(connection, metadata, revision)
    context = MigrationContext.configure(connection)

    with Operations.context(context):
        revision.downgrade()

    assert not any(tables_of(connection, "by_revision").values())


def flattened(differences) -> list[tuple]:
    """Give the differences singly: those within a table come as a list."""
    return [
        single
        for difference in differences
        for single in (difference if isinstance(difference, list) else [difference])
    ]


def names_in(difference) -> set[str]:
    """Give the names of tables in a difference: as text, or of a part of a table."""
    objects = [getattr(part, "table", part) for part in difference]
    return {getattr(o, "name", o) for o in objects if isinstance(o, str | Table)}


def of_ours(differences) -> list[tuple]:
    return [d for d in flattened(differences) if names_in(d) & set(OURS)]


def test_compare_metadata_of_instance_finds_nothing_of_ours(app):
    # The end of the context closes the connection that the extension keeps.
    with app.app_context():
        differences = app.extensions["invenio-db"].alembic.compare_metadata()

    assert of_ours(differences) == []


STRICT = {"compare_type": True, "compare_server_default": True}


def test_compare_metadata_with_types_and_defaults_finds_nothing_of_ours(
    connection, metadata
):
    context = MigrationContext.configure(connection, opts=STRICT)

    assert of_ours(compare_metadata(context, metadata)) == []


@pytest.mark.parametrize(
    ("statement", "difference"),
    [
        ("ALTER TABLE {} DROP COLUMN label", "add_column"),
        ("ALTER TABLE {} ADD COLUMN more integer", "remove_column"),
        ("ALTER TABLE {} ALTER COLUMN label DROP NOT NULL", "modify_nullable"),
        ("ALTER TABLE {} ALTER COLUMN kind TYPE text", "modify_type"),
        ("DROP TABLE {}", "add_table"),
        ("DROP INDEX ix_{}_run_id", "add_index"),
        ("CREATE INDEX more ON {} (kind)", "remove_index"),
        ("ALTER TABLE {} DROP CONSTRAINT fk_{}_run", "add_fk"),
        ("ALTER TABLE {} ADD CONSTRAINT more UNIQUE (label, id)", "remove_constraint"),
    ],
)
def test_compare_metadata_of_changed_table_finds_it(
    statement, difference, connection, metadata
):
    # What the tests above rely on: the comparison does see our tables.
    table = "kcworks_created_dates_problem"
    connection.execute(text(statement.replace("{}", table)))
    context = MigrationContext.configure(connection, opts=STRICT)

    found = of_ours(compare_metadata(context, metadata))

    assert found[0][0] == difference
