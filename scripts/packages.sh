#!/usr/bin/env bash
# Installs what we need, from Debian and, if there is no Rust yet, with rustup: packages.sh build|test
set -euo pipefail
build="build-essential libclang-dev protobuf-compiler ca-certificates curl git"
build="$build fuse3"
test="attr acl btrfs-progs dbench e2fsprogs faketime libnfs-utils nfs-ganesha nfs-ganesha-vfs qemu-utils rsync sqlite3"
test="$test stress-ng systemd util-linux xz-utils"
case ${1:-} in
build) wanted=$build ;;
test) wanted="$build $test" ;;
*) echo "usage: packages.sh build|test" >&2 && exit 64 ;;
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
if ! command -v cargo >/dev/null && [ ! -x "$HOME/.cargo/bin/cargo" ]; then
    echo "installing Rust with rustup"
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
        sh -s -- -y --profile minimal --component clippy,rustfmt --no-modify-path
fi
