# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What the check says of triggers, policies, types, rights and a role's defaults."""

import json
import re
from contextlib import contextmanager

import pytest
from sqlalchemy import create_engine

from kcworks_migrations.checks import check, services

NAMES = {"row_security", "triggers", "precision", "session", "rights"}
TABLES = ("rdm_records_metadata", "communities_metadata")


@pytest.fixture(autouse=True)
def short_ping(monkeypatch):
    monkeypatch.setattr(services, "PING_SECONDS", 0.1)


@pytest.fixture
def look(instance):
    """Check; give the lines about surroundings, by name."""

    def look(engine=None) -> dict[str, list]:
        found: dict[str, list] = {}
        for line in check(engine or instance.engine):
            if line.name in NAMES:
                found.setdefault(line.name, []).append(line)
        return found

    return look


@contextmanager
def changed(instance, before: str, after: str):
    """Execute some SQL, and then what undoes it."""
    instance.execute(before)
    try:
        yield
    finally:
        instance.execute(after)


def test_surroundings_of_an_instance_are_nothing_to_tell(look):
    assert look() == {}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    ("when", "is_told"),
    [
        ("BEFORE UPDATE", True),
        ("AFTER INSERT OR UPDATE", True),
        ("BEFORE UPDATE OF created", True),
        ("BEFORE UPDATE OF updated", False),
        ("BEFORE INSERT", False),
        ("BEFORE UPDATE STATEMENT", False),
        ("BEFORE UPDATE DISABLED", False),
    ],
)
def test_trigger_of_a_changed_row_is_a_warning(instance, look, table, when, is_told):
    """Such as one that sets `updated`, which nothing may change."""
    event, level = when.removesuffix(" DISABLED"), "ROW"
    if event.endswith(" STATEMENT"):
        event, level = event.removesuffix(" STATEMENT"), "STATEMENT"
    create = (
        "CREATE FUNCTION touches() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.updated := now(); RETURN NEW; END $$;"
        f'CREATE TRIGGER "Sets updated" {event} ON {table} FOR EACH {level}'
        " EXECUTE FUNCTION touches()"
    )
    with changed(instance, create, "DROP FUNCTION touches CASCADE"):
        if when.endswith("DISABLED"):
            instance.execute(f'ALTER TABLE {table} DISABLE TRIGGER "Sets updated"')
        found = look()
        assert found.keys() == ({"triggers"} if is_told else set())
        if is_told:
            [line] = found["triggers"]
            assert line.level == "warning"
            assert f"The trigger Sets updated of {table} runs" in line.fact
            show, disable = re.findall("`([^`]*)`", line.what_to_do)
            assert "NEW.updated := now()" in instance.scalar(show)
            instance.execute(disable)
            assert look() == {}


def test_types_with_few_digits_are_a_warning(instance, look):
    found = instance.scalar(
        "SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attname = 'created'"
        " AND attrelid = 'rdm_records_metadata'::regclass"
    )
    alter = "ALTER TABLE rdm_records_metadata ALTER created TYPE "
    short = found.replace("timestamp", "timestamp(0)", 1)
    with changed(instance, alter + short, alter + found):
        [line] = look()["precision"]
        assert line.level == "warning"
        assert f"created of rdm_records_metadata is {short}" in line.fact
        [command] = re.findall("`([^`]*)`", line.what_to_do)
        instance.execute(command)
        assert look() == {}


@pytest.mark.parametrize(
    ("name", "value", "is_told"),
    [
        ("default_transaction_isolation", "repeatable read", True),
        ("default_transaction_isolation", "serializable", True),
        ("idle_session_timeout", "10min", True),
        ("idle_in_transaction_session_timeout", "20s", True),
        ("idle_in_transaction_session_timeout", "10min", False),
    ],
)
def test_defaults_of_sessions_are_a_warning(instance, look, name, value, is_told):
    with instance.database_setting(name, value):
        found = look()
    assert found.keys() == ({"session"} if is_told else set())
    assert [line.level for line in found.get("session", ())] == ["warning"] * is_told


@pytest.fixture
def limited(instance):
    """A role with all rights on all tables, the owner of none; its engine."""
    name = "check_limited"
    instance.execute(
        f"DROP ROLE IF EXISTS {name}; CREATE ROLE {name} LOGIN PASSWORD 'for-tests';"
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name};"
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {name}"
    )
    engine = create_engine(instance.engine.url.set(username=name, password="for-tests"))
    yield engine
    engine.dispose()
    instance.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.mark.parametrize(
    "table",
    [*TABLES, "rdm_parents_metadata", "kcworks_created_dates_backup"],
)
def test_policy_that_hides_rows_is_a_stop(instance, look, limited, table):
    security = f"ALTER TABLE {table} {{}} ROW LEVEL SECURITY"
    assert look(limited) == {}
    with changed(instance, security.format("ENABLE"), security.format("DISABLE")):
        [line] = look(limited)["row_security"]
        assert line.level == "stop"
        assert f"security of the table {table} hides rows" in line.fact
        [command] = re.findall("`([^`]*)`", line.what_to_do)
        instance.execute(command)
        assert look(limited) == {}


@pytest.mark.parametrize(
    "table", ["pidstore_pid", "rdm_parents_metadata", "rdm_versions_state"]
)
def test_tables_of_plans_and_documents_must_be_readable(instance, look, limited, table):
    instance.execute(f"REVOKE SELECT ON {table} FROM {limited.url.username}")
    [line] = look(limited)["rights"]
    assert line.level == "stop" and f"SELECT on {table}" in line.fact


def test_check_prints_surroundings_and_is_go(instance, invoke):
    with instance.database_setting("idle_session_timeout", "10min"):
        result = invoke("check", "--json")
    lines = {line["name"]: line for line in json.loads(result.stdout)["lines"]}
    assert lines["session"]["fact"] == (
        "Sessions of this role end after 600000 ms without a statement."
    )
    assert result.exit_code == 0
