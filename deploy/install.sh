#!/bin/sh
# Makes .venv hold what a lock file says, every download checked against its hash, and ClickAhead
# itself. Touches nothing but .venv and the cache; does nothing when nothing changed.
#
#   deploy/install.sh serve       what the worker and the demo need
#   deploy/install.sh dev         training, tests and linters too
#   deploy/install.sh uv ARG...   run the uv that installs
#
# PYTHON names the interpreter for a new .venv; CLICKAHEAD_CACHE the cache.
set -eu
unset CDPATH
cd -- "$(dirname -- "$0")/.."

# These would send packages elsewhere, or make pip and uv refuse.
unset PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT PIP_REQUIRE_VIRTUALENV PIP_CONSTRAINT PIP_REQUIREMENT
unset PIP_NO_DEPS PIP_NO_BINARY PIP_ONLY_BINARY PIP_DRY_RUN PIP_PYTHON PYTHONHOME PYTHONPATH
unset UV_PYTHON UV_SYSTEM_PYTHON UV_TARGET UV_PREFIX UV_CONSTRAINT UV_OVERRIDE UV_EXCLUDE_NEWER
unset UV_NO_BINARY UV_NO_BUILD UV_NO_BUILD_ISOLATION UV_NO_VERIFY_HASHES UV_COMPILE_BYTECODE

cache=${CLICKAHEAD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/clickahead}
venv=.venv/bin/python

fail() {
    printf 'clickahead: %s\n' "$*" >&2
    exit 1
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        is_new_enough "$PYTHON" || fail "PYTHON=$PYTHON is no Python 3.11 or newer"
        printf '%s\n' "$PYTHON"
        return
    fi
    for python in python3 python3.13 python3.12 python3.11 python3.14; do
        if is_new_enough "$python"; then
            command -v "$python"
            return
        fi
    done
    fail "Python 3.11 or newer is needed and python3 is" \
        "$(python3 --version 2>/dev/null || echo missing)." \
        "Install one, or name one: make setup PYTHON=/path/to/python3.12"
}

# uv follows pip's package index and certificates where it has none of its own.
follow_pip() {
    if [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then
        python=${PYTHON:-python3}
        index=${PIP_INDEX_URL:-$("$python" -m pip config get global.index-url 2>/dev/null || true)}
        [ -z "$index" ] || export UV_DEFAULT_INDEX="$index"
    fi
    if [ -n "${PIP_CERT:-}" ] && [ -z "${SSL_CERT_FILE:-}" ]; then
        export SSL_CERT_FILE="$PIP_CERT"
    fi
}

find_uv() {
    if command -v uv; then
        return
    fi
    pin=$(sed -n '/^uv==/,/[^\\]$/p' deploy/bootstrap.lock)
    version=$(printf '%s' "$pin" | sed -n '1s/^uv==\([^ ;]*\).*/\1/p')
    uv=$cache/uv-$version
    if [ ! -x "$uv" ]; then
        python=$(find_python)
        mkdir -p "$cache"
        work=$(mktemp -d "$cache/uv.XXXXXX")
        trap 'rm -rf "$work"' EXIT
        printf 'clickahead: fetching uv %s into %s\n' "$version" "$cache" >&2
        "$python" -m venv "$work/venv" >&2 || fail "$python cannot make a virtual environment." \
            "Install its venv module (Debian, Ubuntu: the package python3-venv), or install uv"
        printf '%s\n' "$pin" >"$work/uv.lock"
        "$work/venv/bin/python" -m pip --disable-pip-version-check --quiet install --no-user \
            --only-binary :all: --require-hashes --no-deps -r "$work/uv.lock" >&2 ||
            fail "uv $version could not be fetched; is the package index reachable?"
        mv "$work/venv/bin/uv" "$uv"
    fi
    printf '%s\n' "$uv"
}

# What decides over the content of .venv.
inputs_of() {
    cat "$1" deploy/bootstrap.lock pyproject.toml deploy/build_native.py model/native/*.[ch] \
        stream_app/*/native/*.[ch] stream_app/core/extension/*.[ch] | cksum
    pwd
}

is_installed() {
    is_new_enough $venv && [ "$(cat "$2" 2>/dev/null)" = "$(inputs_of "$1")" ]
}

install() {
    lock=$1 stamp=$2
    ! is_installed "$lock" "$stamp" || return 0
    # The scripts in .venv name their interpreter by its path and do not survive a move.
    moved=$(cat .venv/.serve .venv/.dev 2>/dev/null | grep / | grep -vxF "$(pwd)" || true)
    if [ -n "$moved" ] || ! is_new_enough $venv; then
        [ ! -e .venv ] || printf 'clickahead: .venv does not work here any more; making it anew\n' >&2
        interpreter=$(find_python)
        rm -rf .venv
    fi
    uv=$(find_uv)
    follow_pip
    [ -e .venv ] || "$uv" venv --quiet --python "$interpreter" .venv
    printf 'clickahead: installing %s into .venv\n' "$lock" >&2
    rm -f "$stamp"
    "$uv" pip install --python $venv --require-hashes -r "$lock"
    "$uv" pip install --quiet --python $venv --no-deps --reinstall \
        --build-constraints deploy/bootstrap.lock --editable .
    inputs_of "$lock" >"$stamp"
}

case ${1:-} in
serve) is_installed requirements-dev.lock .venv/.dev || install requirements.lock .venv/.serve ;;
dev) install requirements-dev.lock .venv/.dev ;;
uv)
    shift
    uv=$(find_uv)
    follow_pip
    exec "$uv" "$@"
    ;;
*) fail "usage: deploy/install.sh serve | dev | uv ARG..." ;;
esac
