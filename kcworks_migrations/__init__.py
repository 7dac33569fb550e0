# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Puts the true ``created`` dates of imported records and communities back."""

__version__ = "1.0.0"
