#!/bin/sh
# Puts promtool into a folder when there is none: Debian's package `prometheus`, unpacked there.
# Needs apt but not root, and installs nothing on the system.
#
#   deploy/promtool.sh FOLDER
set -eu
folder=$1

if command -v promtool >/dev/null || [ -x "$folder/promtool" ]; then
    exit 0
fi

fail() {
    printf 'clickahead: the tests need promtool, and %s. %s\n' "$1" \
        "Install Prometheus (Debian, Ubuntu: the package prometheus) or put promtool on the PATH" >&2
    exit 1
}

command -v apt-get >/dev/null || fail "there is no apt to fetch it"
mkdir -p "$folder"
work=$(mktemp -d "$folder/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir -p apt/lists/partial apt/archives/partial

own_apt() { # apt's files in our folder, so that neither root nor the system's lists are needed
    apt-get -qq -o Dir::State::lists="$work/apt/lists" -o Dir::Cache="$work/apt" \
        -o Debug::NoLocking=1 -o APT::Sandbox::User= -o APT::Update::Post-Invoke= "$@"
}

printf 'clickahead: fetching promtool into %s\n' "$folder" >&2
apt-get -qq -o APT::Sandbox::User= download prometheus 2>/dev/null || {
    own_apt update && own_apt download prometheus
} || fail "apt could not fetch it"
dpkg-deb --fsys-tarfile prometheus_*.deb | tar -xf - ./usr/bin/promtool
mv usr/bin/promtool "$folder/promtool"
