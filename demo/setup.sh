# shellcheck shell=bash
# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
#
# Functions for run-demo.sh and run-tests.sh: services, virtual environment, instance.
# To be sourced; safe under `set -euo pipefail`.

DEMO=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PROJECT=$(dirname "$DEMO")
RUN=$DEMO/.run
CONSTRAINTS=$DEMO/constraints
export PIP_DISABLE_PIP_VERSION_CHECK=1

step() { printf '==> %s\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# line_requirements LINE: prints what pip installs for InvenioRDM 12, 13 or 14,
# one argument per line. 12 is exactly what Knowledge Commons Works ships, 13 what it
# has on its staging server.
line_requirements() {
  case $1 in
    12) printf '%s\n' 'invenio-app-rdm[opensearch2]==12.1.0' \
          'invenio-rdm-records==10.9.2' 'invenio-communities==13.0.3' \
          'pytest-invenio>=2.2.2,<3' -c "$CONSTRAINTS/rdm12-kcworks.txt" ;;
    13) printf '%s\n' 'invenio-app-rdm[opensearch2]==13.0.9' \
          'invenio-rdm-records==19.6.3' 'invenio-communities==19.2.4' \
          'invenio-vocabularies==8.3.3' \
          pytest-invenio -c "$CONSTRAINTS/rdm13-kcworks.txt" ;;
    14) printf '%s\n' 'invenio-app-rdm[opensearch2]==14.0.5' pytest-invenio ;;
    *) fail "unknown line '$1': 12, 13 or 14" ;;
  esac
}

# find_python: prints the first Python that runs (a shim of pyenv may not) and is new
# enough. $PYTHON comes first.
find_python() {
  local name candidate
  for name in ${PYTHON:+"$PYTHON"} python3.12 python3.13 python3.11 python3; do
    for candidate in $(type -aP "$name") \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/"${name##*/}"; do
      if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
          2>/dev/null; then
        echo "$candidate"
        return
      fi
    done
  done
  fail "no Python 3.11 or newer found; set PYTHON=/path/to/python"
}

# install_package NAME: installs a Debian package, or says that it is missing.
install_package() {
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    fail "please install the package $1 (sudo apt-get install $1)"
  fi
  step "installing $1 with apt-get"
  mkdir -p "$RUN"
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y "$1"; } \
    >> "$RUN/apt.log" 2>&1 </dev/null || fail "apt-get failed, see $RUN/apt.log"
}

# services COMMAND...: runs services.py.
services() { "${SERVICES_PYTHON:=$(find_python)}" "$DEMO/services.py" "$@"; }

# make_venv LINE: makes demo/.run/venv-LINE with the line and this package, unless it is
# there and made from the same requirements.
make_venv() {
  local line=$1 venv=$RUN/venv-$1 python requirements inputs
  mapfile -t requirements < <(line_requirements "$line")
  [ "${#requirements[@]}" -gt 0 ] || exit 1
  if [ -f "$PROJECT/pyproject.toml" ]; then
    requirements+=(-e "$PROJECT[tests]")
  fi
  inputs=$({ echo "${requirements[@]}"
             cat "$CONSTRAINTS/rdm$line"-*.txt "$PROJECT/pyproject.toml" 2>/dev/null || true
           } | sha256sum)
  [ "$(cat "$venv/.inputs" 2>/dev/null || true)" = "$inputs" ] && return

  python=$(find_python)
  "$python" -c 'import ensurepip, venv' 2>/dev/null || install_package python3-venv
  # invenio-formatter draws its badges with it.
  "$python" -c 'from ctypes.util import find_library as f; exit(not f("cairo"))' ||
    install_package libcairo2
  step "making $venv with $("$python" --version) and InvenioRDM $line (a minute or two)"
  mkdir -p "$RUN"
  "$venv/bin/uv" --version >/dev/null 2>&1 || {
    "$python" -m venv --clear "$venv"
    "$venv/bin/pip" install -q uv
  }
  "$venv/bin/uv" pip install -q --python "$venv/bin/python" "${requirements[@]}"
  echo "$inputs" > "$venv/.inputs"
}

# use_instance LINE NAME: puts the virtual environment on the PATH and exports the
# settings of the instance. Starts services that do not run.
use_instance() {
  local settings
  settings=$(services env "$2")
  eval "$settings"
  export INVENIO_INSTANCE_PATH=$RUN/$2/instance
  export VIRTUAL_ENV=$RUN/venv-$1
  export PATH=$VIRTUAL_ENV/bin:$PATH
}

# instance_is_complete LINE: for the instance in use: made to its end, from the same
# requirements and configuration, on the same servers, which still have its data; and
# marked, without which nothing here writes to it.
instance_is_complete() {
  local database=${INVENIO_SQLALCHEMY_DATABASE_URI/+psycopg2/}
  [ "$(cat "$INVENIO_INSTANCE_PATH/.complete" 2>/dev/null)" = "$(instance_inputs "$1")" ] \
    && "$(find_python)" "$DEMO/mark.py" 2>/dev/null \
    && psql -XAtq -c 'SELECT count(*) FROM alembic_version' "$database" >/dev/null 2>&1
}

instance_inputs() {
  { line_requirements "$1"; services versions
    cat "$DEMO/invenio.cfg" "$DEMO/populate.py" "$PROJECT"/alembic/*.py; } | sha256sum
}

# create_instance LINE NAME: makes the instance demo/.run/NAME/instance and uses it. A
# complete one is kept, half of one is made anew. If the caller has a function
# after_db_create, it runs right after the tables were made.
create_instance() {
  local line=$1 name=$2
  case $line-${OPENSEARCH:-} in
    1[34]-2.3) fail "the mappings of InvenioRDM $line need OpenSearch 2.17 or 2.19" ;;
  esac
  make_venv "$line"
  use_instance "$line" "$name"
  instance_is_complete "$line" && return

  step "creating the instance $name (InvenioRDM $line)"
  services drop "$name"
  use_instance "$line" "$name"
  rm -rf "$INVENIO_INSTANCE_PATH"
  mkdir -p "$INVENIO_INSTANCE_PATH"
  cp "$DEMO/invenio.cfg" "$INVENIO_INSTANCE_PATH/"
  step "invenio db init create"
  PYTHONWARNINGS=ignore invenio db init create
  if declare -F after_db_create >/dev/null; then after_db_create; fi
  PYTHONWARNINGS=ignore python "$DEMO/populate.py"
  instance_inputs "$line" > "$INVENIO_INSTANCE_PATH/.complete"
}
