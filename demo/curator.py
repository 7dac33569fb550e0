# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Do what a curator does in a spreadsheet: give one date, and say from where.

``curator.py FILE TITLE DATE NOTE`` writes the date into the line of the record that has
the title, and prints the line.
"""

import csv
import sys
from pathlib import Path


def main() -> None:
    """Read the file, change one line, and write it again."""
    name, title, date, note = sys.argv[1:]
    path = Path(name)
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    [row] = [row for row in rows if row["title"] == title]
    row["new"], row["note"] = date, note
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, reader.fieldnames or ())
        writer.writeheader()
        writer.writerows(rows)
    for column in ("label", "title", "old", "new", "reason", "value", "note"):
        print(f"  {column:<8}{row[column]}")


if __name__ == "__main__":
    main()
