# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The rules of the dates: pure functions on frozen values, no clock, no database."""
