#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
set -euo pipefail

usage() {
  cat <<'END'
Usage: ./run-checks.sh

Runs what needs no services: ruff (rules and format), mypy and the unit tests, in half a
minute. The first run makes the virtual environment demo/.run/venv-12.
END
}

case ${1:-} in
  -h | --help) usage; exit ;;
  '') ;;
  *) usage >&2; exit 2 ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")"
. demo/setup.sh

make_venv 12
export PATH=$RUN/venv-12/bin:$PATH PYTHONWARNINGS=ignore
step "ruff check"
ruff check --quiet .
step "ruff format --check"
ruff format --quiet --check .
step "mypy"
mypy
step "python -m pytest tests/unit"
python -m pytest -q tests/unit
