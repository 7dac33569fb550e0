# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What tests and benchmarks share: a filled instance, its index, workers and faults."""
