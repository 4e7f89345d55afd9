#!/usr/bin/env bash
# Builds the test suites that we did not write: fsx and pjdfstest, from crates.io.
set -euo pipefail
tools=${XDG_CACHE_HOME:-$HOME/.cache}/xtfs/tools
for suite in fsx@0.3.2 pjdfstest@0.2.2; do
    name=${suite%@*}
    [ -x "$tools/bin/$name" ] || cargo install --quiet --locked --root "$tools" "$suite"
done
