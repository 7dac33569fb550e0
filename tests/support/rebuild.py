# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Marks the tests of known defects whose mechanism goes with the rebuild."""

from collections.abc import Generator
from contextlib import contextmanager

import pytest


def rebuild(how: str):
    """Expect a test to fail by an assertion until the rebuild; passing fails.

    Args:
        how: What the rebuild does that ends the defect.
    """
    return pytest.mark.xfail(
        strict=True, raises=AssertionError, reason=f"until the rebuild: {how}"
    )


def given(condition, what: str) -> None:
    """Fail for good where a test's setting is not what it needs.

    Raises:
        RuntimeError: Which no mark of `rebuild` expects.
    """
    if not condition:
        raise RuntimeError(f"the test's setting is wrong: {what}")


@contextmanager
def preparing(what: str) -> Generator[None]:
    """Fail for good where helpers that assert find the test's setting wrong.

    Raises:
        RuntimeError: Which no mark of `rebuild` expects.
    """
    try:
        yield
    except AssertionError as error:
        raise RuntimeError(f"the test's setting is wrong: {what}: {error}") from error
