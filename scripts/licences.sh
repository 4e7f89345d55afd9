#!/usr/bin/env bash
# Checks licences, banned crates and sources of all dependencies.
set -euo pipefail
tools=${XDG_CACHE_HOME:-$HOME/.cache}/xtfs/tools
if [ ! -x "$tools/bin/cargo-deny" ]; then
    # Its own target directory: its dependencies are not ours.
    CARGO_TARGET_DIR=$tools/target cargo install --quiet --locked --root "$tools" cargo-deny@^0.20
    rm -rf "$tools/target"
fi
"$tools/bin/cargo-deny" --log-level error check licenses bans sources
