#!/usr/bin/env bash
# Installs what `cargo xtask dist` built: sudo ./install.sh [PREFIX]
#
# PREFIX is /usr by default. With /usr, mount(8) finds /sbin/mount.xtfs and /sbin/mount.fuse.xtfs, so that
# `mount -t xtfs` and /etc/fstab work. DESTDIR stages the files elsewhere, for packages.
set -euo pipefail
case ${1:-} in
-h | --help)
    sed -n '2,5s/^# //p' "$0"
    exit 0
    ;;
esac
prefix=${1:-/usr}
root=${DESTDIR:-}
dist=$(cd "$(dirname "$0")" && pwd)/target/dist
if [ ! -x "$dist/bin/xtfs" ]; then
    echo "install.sh: nothing is built at $dist; run: cargo xtask dist" >&2
    exit 1
fi
if [ -z "$root" ] && [ "$(id -u)" != 0 ]; then
    echo "install.sh: only root can install to $prefix; run: sudo $0 $*" >&2
    exit 1
fi
put() { install -D "$@"; }

for file in "$dist"/bin/*; do put -m 755 "$file" "$root$prefix/bin/${file##*/}"; done
for file in "$dist"/sbin/*; do put -m 755 "$file" "$root$prefix/sbin/${file##*/}"; done
for file in "$dist"/share/man/man*/*; do
    section=${file%/*}
    put -m 644 "$file" "$root$prefix/share/man/${section##*/}/${file##*/}"
done
put -m 644 -t "$root$prefix/share/bash-completion/completions" "$dist"/share/completions/bash/*
put -m 644 -t "$root$prefix/share/zsh/site-functions" "$dist"/share/completions/zsh/*
put -m 644 -t "$root$prefix/share/fish/vendor_completions.d" "$dist"/share/completions/fish/*
put -m 644 -t "$root$prefix/share/xtfs/proto" "$dist"/share/proto/*
for unit in "$dist"/share/systemd/*; do
    name=${unit##*/}
    put -m 644 "$unit" "$root/etc/systemd/system/$name"
    sed -i "s#/usr/bin/#$prefix/bin/#" "$root/etc/systemd/system/$name"
done
for file in "$dist"/share/config/*.toml; do
    # What an administrator has written stays.
    if [ ! -e "$root/etc/xtfs/${file##*/}" ]; then put -m 644 "$file" "$root/etc/xtfs/${file##*/}"; fi
done
install -d -m 755 "$root/var/lib/xtfs"
# The kernel shows our mounts as fuse.xtfs, and mount(8) looks for helpers in /sbin only.
install -d "$root/sbin"
for name in mount.xtfs mount.fuse.xtfs; do
    [ "$prefix/sbin/mount.xtfs" -ef "$root/sbin/$name" ] || ln -sf "$prefix/sbin/mount.xtfs" "$root/sbin/$name"
done
[ "$prefix/sbin/umount.xtfs" -ef "$root/sbin/umount.xtfs" ] || ln -sf "$prefix/sbin/umount.xtfs" "$root/sbin/umount.xtfs"
for name in mkfs.xtfs umount.fuse.xtfs; do
    source=$prefix/sbin/${name/fuse./}
    [ "$source" -ef "$root/sbin/$name" ] || ln -sf "$source" "$root/sbin/$name"
done
echo "installed to $root$prefix; first steps: xtfs up --help"
