# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The form of a curator's file: what is read, and what is never guessed."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcworks_migrations.errors import RefusedError
from kcworks_migrations.migration.sheet import (
    Sheet,
    as_it_was,
    date_in,
    harmless,
    names_in,
)
from kcworks_migrations.rules.dates import LegacyDateError
from kcworks_migrations.text import iso

BOM = b"\xef\xbb\xbf"


@pytest.fixture
def read(tmp_path):
    """Read some bytes as a sheet; give the lines as dictionaries."""

    def read(data: bytes):
        path = tmp_path / "plan.csv"
        path.write_bytes(data)
        return Sheet.read(path)

    return read


def lines(sheet) -> list[tuple]:
    return [(c.number, c.label, c.new, c.note) for c in sheet]


# --- forms ---------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("bom", [b"", BOM])
def test_delimiters_line_ends_and_byte_order_mark(read, delimiter, end, bom):
    text = (
        f"new,extra,Label,note{end}{end}keep,x,abc,why{end},,,{end}2016-02-29,,d,{end}"
    )
    sheet = read(bom + text.replace(",", delimiter).encode())

    assert lines(sheet) == [(3, "abc", "keep", "why"), (5, "d", "2016-02-29", "")]
    assert sheet.encoding == "utf-8-sig"


def test_cells_with_line_ends_and_delimiters_count_by_their_first_line(read):
    sheet = read(b'label,note,new\na,"one\ntwo, three",keep\nb,,keep\n')

    assert lines(sheet) == [(2, "a", "keep", "one\ntwo, three"), (4, "b", "keep", "")]


def test_short_lines_have_empty_cells(read):
    assert lines(read(b"label,new,note\na\n")) == [(2, "a", "", "")]


def test_windows_1252_is_read_and_named(read):
    sheet = read("label;new;note\nab;keep;für „später“\n".encode("cp1252"))

    assert lines(sheet) == [(2, "ab", "keep", "für „später“")]
    assert sheet.encoding == "cp1252"


def test_what_is_no_text_is_refused(read):
    with pytest.raises(RefusedError, match="neither UTF-8 nor Windows-1252"):
        read(b"label,new\n\x81\x8d\n")


def test_what_is_no_csv_is_refused_with_its_line(read):
    sheet = read(b"label,new\na,keep\nb," + b"x" * 200_000 + b"\n")
    with pytest.raises(RefusedError, match="line 3"):
        list(sheet)


# --- dates ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "instant"),
    [
        ("2016-02-29T13:11:39Z", "2016-02-29T13:11:39Z"),
        ("2016-02-29T13:11:39.5+00:00", "2016-02-29T13:11:39.500000Z"),
        ("2016-02-29 13:11:39 UTC", "2016-02-29T13:11:39Z"),
        ("2016-02-29 13:11:39.000001 UTC", "2016-02-29T13:11:39.000001Z"),
        ("2016-02-29", "2016-02-29T00:00:00Z"),
    ],
)
def test_date_in_reads_three_forms(cell, instant):
    assert iso(date_in(cell)) == instant


@pytest.mark.parametrize(
    "cell",
    [
        "2/29/2016",
        "29.02.2016",
        "29/02/16",
        "2016-02-29 13:11:39",
        "2016-02-29 13:11 UTC",
        "2016-02-29T13:11:39",
        "2016-02-29T13:11:39+01:00",
        "2016-02-30",
        "42429.549757",
        "2016",
        "Feb 29, 2016",
        "２０１６-02-29",
    ],
)
def test_date_in_guesses_nothing(cell):
    with pytest.raises(LegacyDateError):
        date_in(cell)


# --- formulas ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t'=1"),
        ("\uff1d1", "'\uff1d1"),
        ("x;=cmd|'/C calc'!A0;y", "x;'=cmd|'/C calc'!A0;y"),
        ("x,-1", "x,'-1"),
        ("'=1", "''=1"),
        ("x = 1 - 2; a+b", "x = 1 - 2; a+b"),
    ],
)
def test_what_would_run_is_made_harmless(text, cell):
    assert harmless(text) == cell
    assert as_it_was(cell) == text


@given(st.text(alphabet="'=+-@\t\r\n;,ab ", max_size=9) | st.text())
def test_what_was_made_harmless_reads_as_it_was(text):
    assert as_it_was(harmless(text)) == text
    for part in re.split("[;,\t\r\n]", harmless(text)):
        assert part[:1] not in tuple("=+-@")


def test_column_named_number_is_an_extra_one(read):
    assert lines(read(b"Number,label,new\n7,a,keep\n")) == [(2, "a", "keep", "")]


def test_quote_that_is_never_closed_swallows_no_line(read):
    sheet = read(b'label,new,note\na,keep,"see letter\nb,2016-02-29,\nc,keep,\n')
    with pytest.raises(RefusedError, match="line 2"):
        list(sheet)


def test_heading_behind_blank_lines_and_empty_cells(read):
    assert lines(read(b"\n ;;;\nlabel;new;note\na;keep;\n")) == [(4, "a", "keep", "")]


def test_one_long_line_has_no_columns(read):
    assert not set(read(b"x" * 200_000).columns) & {"id", "label", "new"}


# --- names ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"# kept\nabc\n\n  def  \n",
        b"# PID, label\nabc\ndef\n",
        b"id,kind\nabc,record\nwhatever,draft\ndef,community\n",
        b"label\nabc\ndef\n",
        BOM + b"Title;id;label;new\nx;;abc;keep\ny;def;mangled;\n",
    ],
)
def test_names_in_a_sheet_or_one_a_line(tmp_path, data):
    path = tmp_path / "names"
    path.write_bytes(data)

    assert names_in(path) == ["abc", "def"]
