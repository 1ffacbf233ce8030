//! Redis as the lender of quotas: one script call for a batch of questions.
//!
//! The script is in `lease.lua` beside this file, which says how it counts. Here is only how a question is put into words
//! and an answer read; an answer of another shape is a failure like none.

use super::lease::Slots;
use super::share::{Grant, Question, lease_life};
use super::table::Key;
use super::window::Spans;
use crate::redis::{Error, Redis};
use redis::Script;
use std::sync::LazyLock;

/// The script; sent by its hash.
static LEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lease.lua")));

/// Asks for all of them at once. The answers are in the order of the questions; one that cannot be read is left out, and
/// so are those behind it.
pub(super) async fn ask(redis: &Redis, spans: Spans, questions: &[(Key, Question)]) -> Result<Vec<Grant>, Error> {
    let mut invocation = LEASE.prepare_invoke();
    for (key, _) in questions {
        invocation.key(name(*key));
    }
    invocation.arg(spans.minute).arg(spans.hour).arg(lease_life(spans));
    for (_, question) in questions {
        invocation
            .arg(question.cost)
            .arg(question.wanted)
            .arg(question.quota.per_minute)
            .arg(question.quota.per_hour)
            .arg(question.arrears)
            .arg(question.back)
            .arg(question.slots.minute)
            .arg(question.slots.hour);
    }
    let answers: Vec<Vec<u64>> = redis.run("rate_limit_lease", &invocation).await?;
    Ok(answers.iter().map_while(|answer| read(answer)).collect())
}

/// The key of a subject. Each is a slot of its own in a cluster; a batch is for one server.
fn name(key: Key) -> String {
    match key {
        Key::User(id) => format!("parlance:rate_limit:user:{id}"),
        Key::Network(network) => format!("parlance:rate_limit:network:{:x}", network.0),
        Key::UserExpensive(id) => format!("parlance:rate_limit:expensive:user:{id}"),
        Key::NetworkExpensive(network) => format!("parlance:rate_limit:expensive:network:{:x}", network.0),
    }
}

fn read(answer: &[u64]) -> Option<Grant> {
    let [
        granted,
        minute,
        hour,
        minute_left,
        hour_left,
        minute_reset_ms,
        hour_reset_ms,
        retry_after_ms,
    ] = *answer.first_chunk()?;
    Some(Grant {
        granted: u32::try_from(granted).ok()?,
        slots: Slots { minute, hour },
        minute_left: u32::try_from(minute_left).ok()?,
        hour_left: u32::try_from(hour_left).ok()?,
        minute_reset_ms,
        hour_reset_ms,
        retry_after_ms,
    })
}
