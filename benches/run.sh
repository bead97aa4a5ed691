#!/bin/sh
# The overhead benchmark: nginx, bare Pingora and Tollgate in the same minutes.
# Builds what it needs. Arguments go on to it: --rounds N, --only WORK, --write.
set -eu
cd "$(dirname "$0")/.."
if ! command -v nginx >/dev/null && ! [ -x /usr/sbin/nginx ]; then
    echo "benches/run.sh: install nginx first (Debian: apt-get install nginx-light)" >&2
    exit 1
fi
exec cargo bench --bench overhead -- "$@"
