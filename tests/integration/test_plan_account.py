# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""A run with a plan looks only at its lines, and accounts for each of them."""

import hashlib
import json

import pytest
from support import faults
from support.instance import utc

LEGACY = "2016-02-29T13:11:39Z"
OTHER = "2012-03-04T05:06:07Z"
IMPORTED = "2024-05-01T12:00:00.123456Z"
WORDS = ("changed", "kept", "right", "moved", "gone", "refused", "left")
GROUP = [{"group_identifier": "7"}]
SET_FIELD = (
    "UPDATE rdm_records_metadata SET json = jsonb_set(json, '{custom_fields,"
    "hclegacy:record_creation_date}', CAST(:date AS jsonb)) WHERE id = :id"
)


@pytest.fixture
def plan(tmp_path):
    """Write lines as a plan; give its path."""

    def plan(*lines: str, heading: str = "id,old,new"):
        path = tmp_path / "approved.csv"
        path.write_text("\n".join([heading, *lines]) + "\n")
        return path

    return plan


@pytest.fixture
def saved(instance, invoke, tmp_path):
    """Save a plan of what the rules compute, for others to correct; give its path."""

    def saved(*new: tuple[str, str]):
        path = tmp_path / "approved.csv"
        path.unlink(missing_ok=True)
        invoke("update", "--dry-run", "--save-plan", path)
        text = path.read_text(encoding="utf-8-sig")
        lines = []
        for line in text.splitlines():
            cells = line.split(",")
            for id, date in new:
                if cells[1] == id:
                    cells[7] = date
            lines.append(",".join(cells))
        path.write_text("\n".join(lines) + "\n")
        return path

    return saved


def account(result) -> dict:
    """Give the account of a command's JSON, which adds up."""
    document = json.loads(result.stdout)
    check_sums(document)
    return document["plan"]


def check_sums(document) -> None:
    told = document["plan"]
    assert told["lines"] == sum(told[word] for word in WORDS)
    faults.check_statistics(document["statistics"])


def counts(told) -> dict[str, int]:
    return {word: told[word] for word in WORDS if told[word]}


# --- the account ---------------------------------------------------------------------


def test_each_line_is_accounted_for_and_told_first(instance, invoke, plan):
    ids = [instance.record(LEGACY, label=f"r-{n}") for n in range(5)]
    community = instance.community(slug="seven")
    instance.execute(
        "UPDATE rdm_records_metadata SET created = '2020-01-01' WHERE id = :id",
        id=ids[3],
    )
    instance.execute(
        "UPDATE rdm_records_metadata SET created = :date WHERE id = :id",
        date=LEGACY[:-1],
        id=ids[2],
    )
    path = plan(
        f"{ids[0]},{IMPORTED},{OTHER}",
        f"{ids[1]},{IMPORTED},keep",
        f"{ids[2]},{IMPORTED},{LEGACY}",
        f"{ids[3]},{IMPORTED},{OTHER}",
        f"{community},,2010-10-10",
        f"{ids[4]},,",
    )
    told = account(invoke("update", "--dry-run", "--json", "--plan", path))
    wanted = {"changed": 2, "kept": 1, "right": 1, "moved": 1}
    assert counts(told) == wanted and told["lines"] == 5
    assert "--run None" not in invoke("update", "--dry-run", "--plan", path).output
    done = invoke("update", "--yes", "--plan", path)
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    first = next(n for n, line in enumerate(lines) if "5 lines" in line)
    assert first < next(n for n, line in enumerate(lines) if "skipped" in line)
    said = " ".join(" ".join(lines[first:]).split())
    assert said.startswith(
        "5 lines: 2 changed, 1 kept, 1 right already, 1 moved, 0 gone, 0 refused"
    )
    assert (
        "record r-3 (line 5) planned: 2024-05-01 12:00:00.123456 UTC, to"
        " 2012-03-04 05:06:07 UTC moved: now 2020-01-01 00:00:00 UTC"
    ) in said
    found = instance.run().statistics
    assert found["records"]["total_found"] == 4
    assert found["communities"]["total_found"] == 1
    told = account(invoke("update", "--yes", "--json", "--plan", path))
    assert counts(told) == {"right": 4, "moved": 1}
    [missed] = told["missed"]
    assert (missed["row"], missed["run"]) == ("record r-3", None)


def test_old_problems_of_other_rows_are_not_part_of_it(instance, invoke, plan):
    groups = [{"group_identifier": 7}, *GROUP]
    ids = [instance.record(LEGACY, groups) for _ in range(2)]
    for _ in range(5):
        instance.record("29.2.2016", groups)
    assert invoke("update", "--yes").exit_code == 1
    path = plan(f"{ids[0]},,{OTHER}", f"{ids[1]},,keep")
    for command in (("--dry-run",), ("--yes",), ("--yes",)):
        done = invoke("update", *command, "--json", "--plan", path)
        assert done.exit_code == 0, done.output
        document = json.loads(done.stdout)
        check_sums(document)
        assert document["problems"] == []
        assert document["statistics"]["groups"]["total_found"] == 0
    assert "0 problems" in invoke("problems").output


def test_second_run_says_that_nothing_had_to_be_changed_only_if_that_is_all(
    instance, invoke, plan
):
    record = instance.record(LEGACY)
    path = plan(f"{record},{IMPORTED},{OTHER}")
    assert invoke("update", "--yes", "--plan", path).exit_code == 0
    again = invoke("update", "--yes", "--plan", path)
    assert again.exit_code == 0 and "Nothing had to be changed" in again.output
    instance.execute("UPDATE rdm_records_metadata SET created = '2020-01-01'")
    again = invoke("update", "--yes", "--plan", path)
    assert again.exit_code == 1 and "Nothing had to be changed" not in again.output


@pytest.mark.parametrize("options", [("--limit", 1), ("--communities-only",)], ids=str)
def test_lines_that_were_not_asked_for_are_left(instance, invoke, plan, options):
    ids = sorted(instance.record(LEGACY) for _ in range(2))
    path = plan(*(f"{id},,{OTHER}" for id in ids))
    done = invoke("update", "--yes", "--json", "--plan", path, *options)
    left = 1 if "--limit" in options else 2
    assert account(done)["left"] == left and done.exit_code == 1


def test_run_that_moved_a_row_is_named(instance, invoke, plan):
    one, other = (instance.record(LEGACY, label=name) for name in ("one", "other"))
    saved = plan(f"{one},{IMPORTED},{OTHER}", f"{other},{LEGACY},{OTHER}")
    instance.upgrade()
    first = instance.run().id
    invoke("rollback", "--yes", "--record", "other")
    second = instance.run().id
    told = account(invoke("update", "--yes", "--json", "--plan", saved))
    runs = {missed["row"]: missed["run"] for missed in told["missed"]}
    assert runs == {"record one": first, "record other": second}
    assert f"by run {first}" in invoke("update", "--yes", "--plan", saved).output
    instance.execute("UPDATE rdm_records_metadata SET created = '2020-01-01'")
    told = account(invoke("update", "--dry-run", "--json", "--plan", saved))
    assert {missed["run"] for missed in told["missed"]} == {None}, "it was no run"


# --- rows that change between reading and run ----------------------------------------


@pytest.fixture
def meanwhile(instance):
    """Let somebody change rows when the plan was read and its run begins."""

    def meanwhile(*statements: str, **values):
        def edit(connection) -> None:
            for statement in statements:
                instance.execute(statement, **values)

        point = faults.Point("before", "INSERT INTO kcworks_created_dates_run")
        return faults.at(instance.engine, point, edit)

    return meanwhile


def test_line_whose_field_was_removed_meanwhile(instance, invoke, meanwhile, saved):
    """It has been approved as it was saved."""
    record = instance.record(LEGACY, label="bare")
    path = saved()
    with meanwhile("UPDATE rdm_records_metadata SET json = json - 'custom_fields'"):
        done = invoke("update", "--yes", "--json", "--plan", path)
    assert counts(account(done)) == {"changed": 1} and done.exit_code == 0
    assert instance.created(record) == utc(LEGACY[:-1])
    [entry] = instance.backup()
    assert entry.source == "field" and entry.source_file == "approved.csv"


@pytest.mark.parametrize("kind", ["record", "community"])
@pytest.mark.parametrize("legacy", [None, LEGACY])
@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ("DELETE FROM {}", "gone"),
        ("UPDATE {} SET json = NULL", "gone"),
        ("UPDATE {} SET created = '0044-03-15 BC'", "refused"),
        ("UPDATE {} SET created = '2020-01-01'", "moved"),
    ],
)
def test_row_that_changed_meanwhile_is_told(
    instance, invoke, plan, meanwhile, kind, legacy, change, outcome
):
    if kind == "record":
        id, table = instance.record(legacy, label="x"), "rdm_records_metadata"
    else:
        id, table = instance.community("7", slug="x"), "communities_metadata"
        instance.record(legacy, GROUP)
    path = plan(f"{id},{IMPORTED},{OTHER}")
    with meanwhile(change.format(table)):
        done = invoke("update", "--yes", "--json", "--plan", path)
    told = account(done)
    assert counts(told) == {outcome: 1} and done.exit_code == 1
    assert told["missed"][0]["row"] == f"{kind} x"
    assert not instance.backup()
    [problem] = instance.problems()
    assert problem[:2] == (kind, id)
    assert f"{kind} x" in invoke("problems").output


# --- dates that rest on the file alone -----------------------------------------------


def test_change_that_rests_on_the_file_alone_names_it(instance, invoke, saved):
    record = instance.record(LEGACY, label="edited")
    same = instance.record(LEGACY, label="same")
    path = saved()
    instance.execute(SET_FIELD, date=f'"{OTHER}"', id=record)
    told = account(invoke("update", "--dry-run", "--json", "--plan", path))
    assert [d["row"] for d in told["alone"]] == ["record edited"]
    assert told["alone"][0]["computed"] == OTHER and told["own"] == 0
    said = invoke("update", "--yes", "--plan", path).output
    assert "record edited" in said
    entries = {entry.entity: entry for entry in instance.backup()}
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    entry = entries[record]
    assert (entry.source, entry.source_file) == ("field", "approved.csv")
    assert entry.source_sha256 == digest
    assert entries[same].source_file is entries[same].source_sha256 is None
    assert f"approved.csv (sha256 {digest[:12]}" in invoke("show", "edited").output
    assert "approved.csv" not in invoke("show", "same").output
    instance.upgrade()
    assert instance.created(record) == utc(OTHER[:-1]), "a later update may move it"
    instance.downgrade()
    assert instance.created(record) == utc(IMPORTED[:-1])


@pytest.mark.parametrize("new", ["keep", OTHER])
@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
def test_community_whose_records_the_same_file_dates_otherwise_is_named(
    instance, invoke, saved, new, is_done
):
    record = instance.record(LEGACY, GROUP, label="oldest")
    community = instance.community("7", slug="seven")
    instance.community("8", slug="eight")
    instance.record(LEGACY, [{"group_identifier": "8"}], label="other")
    path = saved((record, new))
    if is_done:  # what it says of the community is right already
        invoke("update", "--yes", "--plan", path)
    told = account(invoke("update", "--dry-run", "--json", "--plan", path))
    [moving] = told["moving"]
    day = "2024-05-01" if new == "keep" else OTHER[:10]
    assert moving["row"] == "community seven"
    assert moving["new"][:10] == LEGACY[:10]
    assert "community seven" in invoke("update", "--dry-run", "--plan", path).output
    if not is_done:
        invoke("update", "--yes", "--plan", path)
    assert instance.created(community, "community") == utc(LEGACY[:10])
    instance.upgrade()
    assert str(instance.created(community, "community").date()) == day
    assert moving["computed"][:10] == day


def test_community_whose_record_was_corrected_since_is_named(instance, invoke, saved):
    record = instance.record(LEGACY, GROUP)
    instance.community("7", slug="seven")
    path = saved()
    instance.execute(SET_FIELD, date=f'"{OTHER}"', id=record)
    told = account(invoke("update", "--dry-run", "--json", "--plan", path))
    assert [d["row"] for d in told["moving"]] == ["community seven"]
    assert len(told["alone"]) == 1


def test_community_that_rests_on_another_record_too_is_not_named(
    instance, invoke, saved
):
    record = instance.record(LEGACY, GROUP)
    instance.record(LEGACY, GROUP)
    instance.community("7", slug="seven")
    path = saved((record, "keep"))
    told = account(invoke("update", "--dry-run", "--json", "--plan", path))
    assert told["moving"] == told["alone"] == []


def test_dry_run_and_run_agree_about_communities(instance, invoke, plan):
    """Records that only the plan dates count, those that it keeps count as kept."""
    bare = instance.record(groups=GROUP)
    kept = instance.record("2001-01-01T00:00:00Z", GROUP)
    community = instance.community("7", slug="seven")
    path = plan(f"{bare},,2015-05-05", f"{kept},,keep", f"{community},,2015-05-05")
    told = account(invoke("update", "--dry-run", "--json", "--plan", path))
    done = account(invoke("update", "--yes", "--json", "--plan", path))
    assert counts(told) == counts(done) == {"changed": 2, "kept": 1}
    assert {e.kind for e in instance.backup(source="plan")} == {"record"}
    assert instance.upgrade().statistics.updated == 0
