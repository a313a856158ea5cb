#!/usr/bin/env bash
# Asks the RustSec database for advisories on the crates of Cargo.lock: `tests/advisories.sh CARGO_DENY`.
#
# The database is a git repository of its own, which not every machine can reach. Where it cannot be fetched, the copy that cargo-deny
# keeps below CARGO_HOME is asked, no older than 90 days. Without one nothing is checked, and this says so; then it fails where
# EDGE_SEG_REQUIRE_ADVISORIES is set, as a release has it. Exit 0: checked, or not checked and said; 1: advisories, or none to be had.
set -euo pipefail
cd "$(dirname "$0")/.."
deny=${1:?the program cargo-deny}
database=https://github.com/RustSec/advisory-db

if GIT_TERMINAL_PROMPT=0 timeout 30 git ls-remote --quiet --exit-code "$database" HEAD >/dev/null 2>&1; then
    "$deny" check --hide-inclusion-graph advisories
    echo "advisories: checked with the database of today"
elif compgen -G "${CARGO_HOME:-$HOME/.cargo}/advisory-dbs/advisory-db-*" >/dev/null; then
    "$deny" --offline check --hide-inclusion-graph advisories
    echo "advisories: checked with the copy of the database that an earlier run fetched"
else
    echo "advisories: NOT CHECKED: $database cannot be reached, and no copy of it is here; run 'cargo deny check advisories' where it can"
    [ -z "${EDGE_SEG_REQUIRE_ADVISORIES:-}" ]
fi
