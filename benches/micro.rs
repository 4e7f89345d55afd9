//! Micro benchmarks of what every byte passes: layout, checksum, codec.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use prost::Message;
use xtfs_core::capability::{Capability, Key, Rights};
use xtfs_core::{
    ByteRange, DataNumber, DataVersion, FileEpoch, Floor, SessionId, StripeLayout, Timestamp,
    VolumeId, checksum,
};
use xtfs_proto::v1;

const MIB: usize = 1 << 20;

fn layout(c: &mut Criterion) {
    let layout = StripeLayout::new(128 << 10, 4).expect("a valid layout");
    let range = ByteRange::new(3 << 20, 1 << 20).expect("a valid range");
    c.bench_function("layout/columns of 1 MiB", |b| {
        b.iter(|| {
            layout.columns().map(|c| layout.column_range(black_box(range), c).len()).sum::<u64>()
        });
    });
    c.bench_function("layout/pieces of 1 MiB", |b| {
        b.iter(|| layout.pieces(black_box(range)).map(|piece| piece.range.len()).sum::<u64>());
    });
}

fn checksums(c: &mut Criterion) {
    let data = vec![7; MIB];
    let mut group = c.benchmark_group("checksum");
    group.throughput(Throughput::Bytes(MIB as u64));
    group.bench_function("sums of 1 MiB", |b| {
        b.iter(|| checksum::piece_sums(0, black_box(&data)));
    });
    group.finish();
}

fn codec(c: &mut Criterion) {
    let request = v1::IoRequest {
        id: 1,
        kind: v1::IoKind::Write.into(),
        length: 1 << 20,
        capability: Bytes::from(vec![1; 96]),
        block_sums: vec![0x1234_5678; 256],
        data: Bytes::from(vec![7; MIB]),
        ..Default::default()
    };
    let encoded = Bytes::from(request.encode_to_vec());
    let mut group = c.benchmark_group("codec");
    group.throughput(Throughput::Bytes(MIB as u64));
    group.bench_function("encode a write of 1 MiB", |b| {
        b.iter(|| black_box(&request).encode_to_vec())
    });
    group.bench_function("decode a write of 1 MiB", |b| {
        b.iter(|| v1::IoRequest::decode(black_box(encoded.clone())).expect("what was encoded"));
    });
    group.finish();
}

fn capability(c: &mut Criterion) {
    let key = Key::new(1, vec![1; 32]);
    let capability = Capability {
        volume: VolumeId(1),
        data: DataNumber(2),
        version: DataVersion(0),
        layout: StripeLayout::new(128 << 10, 4).expect("a valid layout"),
        rights: Rights::ReadWrite,
        file_epoch: FileEpoch(3),
        floor: Floor::NONE,
        session: SessionId(4),
        expires: Timestamp(5),
    };
    let token = capability.sign(&key);
    let keys = [key];
    c.bench_function("capability/sign", |b| b.iter(|| black_box(&capability).sign(&keys[0])));
    c.bench_function("capability/verify", |b| {
        b.iter(|| Capability::verify(black_box(&token), &keys).expect("it was signed"));
    });
}

criterion_group!(benches, layout, checksums, codec, capability);
criterion_main!(benches);
