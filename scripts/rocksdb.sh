#!/usr/bin/env bash
# Compiles RocksDB if no earlier run has, and keeps the archive where scripts/environment.sh looks for it.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
[ -f "$rocksdb_dir/librocksdb.a" ] && exit 0
echo "compiling RocksDB $rocksdb_version, once; this takes 10 to 20 minutes on two cores"
unset ROCKSDB_LIB_DIR ROCKSDB_STATIC
cargo build --release --quiet -p xtfs-kv
archive=$(find "$CARGO_TARGET_DIR"/release/build/librocksdb-sys-*/out -name librocksdb.a -printf '%T@ %p\n' |
    sort -n | tail -n 1 | cut -d' ' -f2-)
mkdir -p "$rocksdb_dir"
cp "$archive" "$rocksdb_dir/librocksdb.a.new"
mv "$rocksdb_dir/librocksdb.a.new" "$rocksdb_dir/librocksdb.a"
