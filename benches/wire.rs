//! What one frame costs: parsing a client's, encoding a server's, and its way through a socket's
//! outbox.
//!
//! These are the parts of a message's life that do not wait for anything. A delivery is a push of
//! shared bytes and a share of a drain, so `outbox` is given per frame delivered; parsing and
//! encoding happen once per message, however many receive it.

use bytestring::ByteString;
use chrono::{DateTime, Utc};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use parlance::ids::{ConversationId, MessageId, Rev, Seq, UserId, UserKind};
use parlance::wire::{Class, Frame, Outbox, encode, frames, parse};
use std::hint::black_box;
use std::sync::Arc;
use std::task::Waker;

/// Frames that wait in an outbox when the socket gets to writing, as under load.
const BURST: u64 = 64;

fn message(body: &str) -> frames::Message {
    frames::Message {
        conversation: ConversationId::new(),
        rev: Rev(4_711),
        seq: Seq(4_700),
        id: MessageId::new(),
        author: UserId::new(),
        kind: UserKind::Person,
        body: Some(ByteString::from(body)),
        reply_to: None,
        created_at: DateTime::<Utc>::UNIX_EPOCH,
        edited_at: None,
        deleted_at: None,
        reactions: Vec::new(),
        mine: None,
        cause: None,
        posted_rev: Rev(4_711),
    }
}

fn parsing(criterion: &mut Criterion) {
    let (conversation, id) = (ConversationId::new(), MessageId::new());
    let mut group = criterion.benchmark_group("parse");
    for (name, length) in [("send 128 B", 128), ("send 16 KiB", 16_384)] {
        let body = "x".repeat(length);
        let text =
            format!(r#"{{"type":"send","ref":"17","conversation":"{conversation}","id":"{id}","body":"{body}"}}"#);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| parse(black_box(&text))));
    }
    let text = format!(r#"{{"type":"subscribe","ref":"1","conversation":"{conversation}","after":12}}"#);
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("subscribe", |bencher| bencher.iter(|| parse(black_box(&text))));
    group.finish();
}

fn encoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for (name, length) in [("message 128 B", 128), ("message 16 KiB", 16_384)] {
        let message = message(&"x".repeat(length));
        group.throughput(Throughput::Bytes(encode(&message).len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| encode(black_box(&message))));
    }
    let ack = frames::Ack {
        reference: Some(Arc::from("17")),
        conversation: ConversationId::new(),
        id: MessageId::new(),
        seq: Seq(1),
        rev: Rev(1),
        created_at: DateTime::<Utc>::UNIX_EPOCH,
        duplicate: false,
        budget: None,
    };
    group.throughput(Throughput::Bytes(encode(&ack).len() as u64));
    group.bench_function("ack", |bencher| bencher.iter(|| encode(black_box(&ack))));
    group.finish();
}

fn delivering(criterion: &mut Criterion) {
    let frame: Frame = encode(&message(&"x".repeat(128)));
    let outbox = Outbox::default();
    let mut group = criterion.benchmark_group("outbox");
    group.throughput(Throughput::Elements(BURST));
    group.bench_function("push and drain a burst of 64", |bencher| {
        bencher.iter_batched(
            || (0..BURST).map(|_| frame.clone()).collect::<Vec<_>>(),
            |frames| {
                for frame in frames {
                    outbox.push(frame, Class::Durable);
                }
                outbox.drain(usize::MAX, Waker::noop())
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, parsing, encoding, delivering);
criterion_main!(benches);
