//! What observability costs: the price of each thing that is counted or logged on the way of a
//! message.
//!
//! Compare with what the work itself costs: a delivery takes about a microsecond of one core, a
//! request some ten, a commit a millisecond. The spans are those of the real subscriber, writing to
//! nowhere.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot begin ends")]

use criterion::{Criterion, criterion_group, criterion_main};
use parlance::config::LogFormat;
use parlance::metrics::{Readings, metrics};
use parlance::supervision::{Running, enter};
use parlance::telemetry::{Terminal, subscriber};
use std::hint::black_box;
use std::io;
use std::time::Duration;

fn counting(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("counting");
    let elapsed = Duration::from_micros(900);
    group.bench_function("a fan-out, whatever its readers", |b| {
        b.iter(|| metrics().pushed(black_box(100)));
    });
    group.bench_function("the receipt of a message", |b| {
        b.iter(|| metrics().acknowledged(black_box(elapsed)));
    });
    group.bench_function("a statement", |b| {
        b.iter(|| metrics().db_queried(black_box("users.find"), elapsed));
    });
    group.bench_function("a request", |b| {
        b.iter(|| metrics().http_answered(black_box("GET"), "/api/conversations/{id}".to_owned(), 200, elapsed));
    });
    group.bench_function("a scrape", |b| b.iter(|| metrics().expose(&Readings::default())));
    group.finish();
}

fn logging(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("logging");
    let running = Running {
        name: "session",
        id: Some(uuid::Uuid::nil()),
    };
    group.bench_function("the name of who runs, for one poll", |b| {
        b.iter(|| drop(enter(black_box(running))));
    });
    for (form, name) in [(LogFormat::Pretty, "pretty"), (LogFormat::Json, "json")] {
        let log = subscriber(form, "info", Terminal::Plain, io::sink).unwrap();
        tracing::subscriber::with_default(log, || {
            let id = uuid::Uuid::nil();
            let span =
                tracing::info_span!("socket", request.id = %id, connection.id = %id, tenant.id = %id, user.id = %id);
            group.bench_function(
                format!("{name}: entering a socket's span, for a frame that comes in"),
                |b| {
                    b.iter(|| span.in_scope(|| black_box(1)));
                },
            );
            group.bench_function(format!("{name}: a request's span with who made it, and its line"), |b| {
                b.iter(|| {
                    let empty = tracing::field::Empty;
                    let span = tracing::info_span!("request", request.id = %id, tenant.id = empty, user.id = empty);
                    span.in_scope(|| {
                        tracing::record_all!(tracing::Span::current(), tenant.id = %id, user.id = %id);
                        tracing::info!(target: "access", method = "GET", route = "/api/me", status = 200, ms = 0.9, "answered");
                    });
                });
            });
        });
    }
    group.finish();
}

criterion_group!(benches, counting, logging);
criterion_main!(benches);
