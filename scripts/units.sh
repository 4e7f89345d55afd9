#!/usr/bin/env bash
# Verifies the systemd units as they are installed: systemd wants to see the programs that they start.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v systemd-analyze >/dev/null; then
    [ -z "${XTFS_TEST_MUST_MOUNT:-}" ] || { echo "systemd-analyze is missing" >&2 && exit 1; }
    echo "SKIPPED: systemd-analyze is missing"
    exit 0
fi
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
DESTDIR=$stage ./install.sh /usr >/dev/null
sed -i "s#/usr/bin/#$stage/usr/bin/#" "$stage"/etc/systemd/system/*
cd "$stage/etc/systemd/system"
systemd-analyze verify --man=no xtfs-dir.service xtfs-mrc.service "xtfs-osd@srv-disk1.service" xtfs.target
