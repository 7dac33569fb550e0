#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
set -euo pipefail

usage() {
  cat <<'END'
Usage: ./run-tests.sh [12|13|14] [pytest arguments]

Runs all tests on InvenioRDM 12 (the default, what Knowledge Commons Works runs), 13
(what its staging server runs) or 14, with real services. The first run makes a
virtual environment and an instance below demo/.run, which takes some minutes; later
runs reuse them.

  ./run-tests.sh                           everything, on version 12
  ./run-tests.sh 14 -k downgrade -x        some tests, on version 14
  KEEP_SERVICES=1 ./run-tests.sh           leaves the services running
  POSTGRES=12 OPENSEARCH=2.3 ./run-tests.sh    on other servers than usual

POSTGRES=12|15|17 (default 15) and OPENSEARCH=2.3|2.17|2.19 (default 2.19) choose the
servers that are started here. Each version has data of its own, and an instance is made
anew when it is used with other servers than before.

Services that are already running are left running. demo/services.py says how they are
found; `demo/services.py down` ends those that it started.
END
}

case ${1:-} in
  -h | --help) usage; exit ;;
  12 | 13 | 14) line=$1; shift ;;
  *) line=12 ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")"
. demo/setup.sh
export POSTGRES_FSYNC=off # no test ends the machine
services versions >/dev/null

if [ -z "${KEEP_SERVICES:-}" ] && ! services status >/dev/null; then
  trap 'services down' EXIT
fi
create_instance "$line" "test$line"
step "python -m pytest $*"
python -m pytest "$@"
