#!/usr/bin/env bash
# Installs what Debian has of the things that we need: packages.sh build|run
set -euo pipefail
build="build-essential libclang-dev protobuf-compiler ca-certificates curl git"
run="fuse3 attr acl rsync"
case ${1:-} in
build) wanted="$build $run" ;;
run) wanted=$run ;;
*) echo "usage: packages.sh build|run" >&2; exit 64 ;;
esac
missing=()
for package in $wanted; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "missing packages: ${missing[*]}; install them: sudo apt-get install ${missing[*]}" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
