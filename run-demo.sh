#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
set -euo pipefail

usage() {
  cat <<'END'
Usage: ./run-demo.sh [--rdm 12|13|14] [--keep] [--stop] [-h]

Makes an InvenioRDM instance like Knowledge Commons Works, with 78 published records and
21 communities, and shows what `invenio alembic upgrade` does to their created dates,
and that the downgrade puts everything back. Exits with an error if any date is not as
expected. The first run makes a virtual environment and an instance below demo/.run,
which takes some minutes; later runs take about two.

  --rdm 12|13|14   the version of InvenioRDM; 12, the default, is what Knowledge
                   Commons Works runs
  --keep           only make the instance and leave it running, as it is before the
                   upgrade; again, it puts the instance back into that state
  --stop           end what --keep has left running, and nothing else

POSTGRES=12|15|17 (default 15) and OPENSEARCH=2.3|2.17|2.19 (default 2.19) in the
environment choose the servers that are started here.

Everything runs on 127.0.0.1. Services that are already running are left running;
demo/services.py says how they are found.
END
}

cd "$(dirname "${BASH_SOURCE[0]}")"
. demo/setup.sh

line=12 action=demo
while [ $# -gt 0 ]; do
  case $1 in
    --rdm)
      [ $# -gt 1 ] || fail "--rdm: 12, 13 or 14"
      line=$2
      shift
      ;;
    --rdm=*) line=${1#*=} ;;
    --keep | --stop) action=${1#--} ;;
    -h | --help) usage; exit ;;
    *) usage >&2; exit 2 ;;
  esac
  shift
done
case $line in 12 | 13 | 14) ;; *) fail "--rdm: 12, 13 or 14" ;; esac

NAME=demo$line
FOLDER=$RUN/$NAME
OWNS_SERVICES=$RUN/demo.owns-services # a file: --keep has started the services
export PYTHONWARNINGS=ignore
# Only silences a warning: the demo sends no cookies.
export INVENIO_SESSION_COOKIE_SECURE=True

title() { printf '\n%s\n%s\n' "$1" "${1//?/=}"; }
run() { printf '\n$ %s\n' "$*"; "$@"; }
background() { "${SERVICES_PYTHON:=$(find_python)}" "$DEMO/background.py" "$@"; }
copies() { python "$DEMO/copies.py" "$FOLDER" "$@"; }
drain() { python "$DEMO/drain.py" "$@"; }

# Processes
# =========

start_processes() {
  rm -f "$FOLDER/api.url"
  background "$FOLDER" start api python "$DEMO/serve.py" "$FOLDER/api.url"
  background "$FOLDER" start worker celery -A invenio_app.celery worker --concurrency 1
}

stop_processes() {
  background "$1" stop api
  background "$1" stop worker
}

are_running() { background "$FOLDER" status api && background "$FOLDER" status worker; }

wait_for_processes() {
  while ! [ -s "$FOLDER/api.url" ]; do
    background "$FOLDER" status api ||
      fail "the REST API has ended: $(tail -n 5 "$FOLDER/api.log")"
    sleep 0.5
  done
  drain worker
}

# stop_all: ends the processes of every kept instance, and the services if --keep has
# started them.
stop_all() {
  local folder
  for folder in "$RUN"/demo1[234]; do
    [ -d "$folder" ] || continue
    stop_processes "$folder"
    rm -f "$folder/kept"
  done
  rm -f "$RUN/env.sh"
  if [ -f "$OWNS_SERVICES" ]; then
    services down
    rm -f "$OWNS_SERVICES"
  fi
}

# The instance
# ============

# create_instance calls it when the tables are there and stamped: a new instance has all
# revisions, and this one is to be like one that the package was just installed into.
after_db_create() {
  step "invenio alembic downgrade kcworks_migrations@base"
  invenio alembic downgrade kcworks_migrations@base >"$FOLDER/base.log" 2>&1 ||
    fail "it failed: $(tail -n 5 "$FOLDER/base.log")"
}

# What the filled instance is made from; without Python and line, which its virtual
# environment and `create_instance` look after.
sample_inputs() (
  cd "$DEMO"
  cat sample.py shapes.py copies.py snapshot.py invenio.cfg populate.py | sha256sum
)

is_filled() {
  [ "$(cat "$FOLDER/.filled" 2>/dev/null)" = "$(sample_inputs)" ] &&
    instance_is_complete "$line" && copies is-saved
}

# prepare: makes and fills the instance, or puts it back to what it was when filled, and
# starts its processes.
prepare() {
  make_venv "$line"
  use_instance "$line" "$NAME"
  mkdir -p "$FOLDER"
  if ! is_filled; then
    stop_processes "$FOLDER"
    rm -f "$FOLDER/.filled" "$INVENIO_INSTANCE_PATH/.complete"
    create_instance "$line" "$NAME"
    step "filling it through the services (a minute)"
    python "$DEMO/sample.py" "$FOLDER/sample.json"
    drain purge # what making the instance has left for a worker
    step "keeping a copy of the filled instance for the next time"
    copies save
    sample_inputs >"$FOLDER/.filled"
  elif ! copies is-as-saved; then
    step "putting the filled instance back"
    stop_processes "$FOLDER"
    copies restore
    drain purge
  fi
  are_running || step "starting the REST API and a Celery worker"
  are_running || start_processes
  wait_for_processes
}

write_environment() {
  {
    echo "# Settings of the instance $NAME, written by run-demo.sh --keep."
    services env "$NAME"
    printf 'export %s=%q\n' \
      INVENIO_INSTANCE_PATH "$INVENIO_INSTANCE_PATH" \
      INVENIO_SESSION_COOKIE_SECURE True \
      KCWORKS_DEMO_API "$(cat "$FOLDER/api.url")" \
      PYTHONWARNINGS ignore \
      VIRTUAL_ENV "$VIRTUAL_ENV"
    printf 'export PATH=%q:$PATH\n' "$VIRTUAL_ENV/bin"
  } >"$RUN/env.sh"
}

# The demo
# ========

drain_queues() {
  cat <<'END'

The changed ids are in the queues of invenio-indexer. On a real instance, Celery
beat has them emptied every ten seconds; here we ask the worker to do it once.

$ celery -A invenio_app.celery call \
    invenio_records_resources.tasks.manage_indexer_queues
END
  celery -A invenio_app.celery call \
    invenio_records_resources.tasks.manage_indexer_queues >/dev/null
  drain wait
}

show() { python "$DEMO/show.py" "$FOLDER" "$1" || status=1; }

# may_have_problems COMMAND...: an exit status of 1 says that some rows are problems.
may_have_problems() { run "$@" || [ $? = 1 ]; }

correct() {
  local file=$FOLDER/problems.csv
  printf '\n$ invenio kcworks-created-dates problems --csv > problems.csv\n'
  invenio kcworks-created-dates problems --csv >"$file"
  printf '\nIn a spreadsheet, the curator gives the date of one record:\n'
  python "$DEMO/curator.py" "$file" "all bad" 2016-02-29 "from the printed catalogue"
  printf '\n(cd to the folder of the file)\n'
  cd "$FOLDER"
  run invenio kcworks-created-dates update --yes --plan problems.csv
  printf '\nThe community of its group follows with the next update:\n'
  may_have_problems invenio kcworks-created-dates update --yes
  cd - >/dev/null
}

demo() {
  status=0
  title "Before: every date says when the record was imported"
  show before
  title "The upgrade"
  run invenio alembic upgrade
  drain_queues
  title "After: the dates are the true ones"
  show after
  title "A curator knows a date"
  correct
  drain_queues
  show corrected
  title "The downgrade"
  echo
  echo "Always with the revision to go back to: without it, Alembic would undo one of"
  echo "another module."
  run invenio alembic downgrade a94c06be7d15
  drain_queues
  title "Restored: as before the upgrade"
  show restored
  if [ "$status" = 0 ]; then
    printf '\nThe demo has succeeded: every value is as expected.\n'
  else
    printf '\nThe demo has FAILED: see "NOT AS EXPECTED" above.\n'
  fi
  return "$status"
}

finish() {
  local code=$?
  trap - EXIT INT TERM
  if [ -f "$FOLDER/kept" ]; then
    step "putting the kept instance back to before the upgrade"
    prepare && write_environment
  else
    stop_processes "$FOLDER"
    if [ -n "${starts_services:-}" ]; then services down; fi
  fi
  exit "$code"
}

keep() {
  trap finish EXIT
  prepare
  touch "$FOLDER/kept"
  if [ -n "${starts_services:-}" ]; then touch "$OWNS_SERVICES"; fi
  trap - EXIT
  write_environment
  cat <<END

The instance $NAME is running, as it is before the upgrade. To use it from any shell:

  . $RUN/env.sh
  invenio alembic upgrade
  celery -A invenio_app.celery call \\
    invenio_records_resources.tasks.manage_indexer_queues
  invenio alembic downgrade a94c06be7d15

REST API:  $(cat "$FOLDER/api.url")/records   (an administrator's token is in
           $FOLDER/sample.json)
Worker:    its log is $FOLDER/worker.log

  ./run-demo.sh --rdm $line --keep   puts it back to before the upgrade
  ./run-demo.sh --stop            ends it
END
}

if [ "$action" = stop ]; then
  stop_all
  exit
fi
services versions >/dev/null
if ! services status >/dev/null; then starts_services=yes; fi
case $action in
  keep) keep ;;
  demo)
    trap finish EXIT
    prepare
    demo
    ;;
esac
