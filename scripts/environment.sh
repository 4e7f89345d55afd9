# Sourced: where things are built.
#
# The target directory lies outside the checkout, so that a fresh clone finds what was compiled before. RocksDB is
# compiled once for each of its versions, by scripts/rocksdb.sh, and linked from there: Cargo alone would compile it
# again whenever some feature of another crate changes.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/xtfs/target}
export PATH=$HOME/.cargo/bin:$PATH
rocksdb_version=$(sed -n '/^name = "librocksdb-sys"/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)
rocksdb_dir=${XDG_CACHE_HOME:-$HOME/.cache}/xtfs/rocksdb-$rocksdb_version
if [ -f "$rocksdb_dir/librocksdb.a" ]; then
    export ROCKSDB_LIB_DIR=$rocksdb_dir ROCKSDB_STATIC=1
fi
