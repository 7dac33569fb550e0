# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Our three tables, which nothing else names: runs, entries (the backup), problems.

The functions here work in the transaction of their caller, which commits a batch as a
whole: the changes with their entries, the problems and the counters of the run. A
crash leaves all of a batch or nothing of it.
"""
