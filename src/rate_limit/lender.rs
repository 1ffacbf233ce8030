//! Redis as the lender of quotas: one script call for a batch of questions, and on a cluster one for each.
//!
//! The script is in `lease.lua` beside this file, which says how it counts. Here is only how a question is put into words
//! and an answer read; an answer of another shape is a failure like none. On a cluster the keys of a batch are at different
//! servers, which cannot carry one script out together: so each question is a call of its own, [`AT_ONCE`] at a time, and
//! those whose server fails are without an answer while the others have theirs.

use super::lease::Slots;
use super::share::{Grant, Question, lease_life};
use super::table::Key;
use super::window::Spans;
use crate::redis::{Error, Redis};
use futures_util::{StreamExt as _, stream};
use redis::Script;
use std::sync::LazyLock;

/// The script; sent by its hash.
static LEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lease.lua")));

/// Calls that are under way at the same time on a cluster.
const AT_ONCE: usize = 8;

/// Asks for all of them. The answers are in the order of the questions, `None` where there was none that can be read.
///
/// # Errors
/// That of Redis, if it had no answer to any.
pub(super) async fn ask(
    redis: &Redis,
    spans: Spans,
    questions: &[(Key, Question)],
) -> Result<Vec<Option<Grant>>, Error> {
    if !redis.is_cluster() {
        let answers = call(redis, spans, questions).await?;
        let read = answers.iter().map(|answer| read(answer));
        return Ok(read.chain(std::iter::repeat(None)).take(questions.len()).collect());
    }
    let calls = questions
        .iter()
        .map(|question| call(redis, spans, std::slice::from_ref(question)));
    let answers: Vec<_> = stream::iter(calls).buffered(AT_ONCE).collect().await;
    if answers.iter().all(Result::is_err) {
        return answers
            .into_iter()
            .next()
            .map_or(Ok(Vec::new()), |answer| answer.map(|_| Vec::new()));
    }
    Ok(answers
        .into_iter()
        .map(|answer| {
            answer
                .ok()
                .as_deref()
                .and_then(<[_]>::first)
                .and_then(|answer| read(answer))
        })
        .collect())
}

/// One call of the script; all of its keys have to be at the same server.
async fn call(redis: &Redis, spans: Spans, questions: &[(Key, Question)]) -> Result<Vec<Vec<u64>>, Error> {
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
    match questions.first() {
        Some((first, _)) => redis.run_for(&name(*first), "rate_limit_lease", &invocation).await,
        None => Ok(Vec::new()),
    }
}

/// The key of a subject. On a cluster they are spread over the slots, and so over the servers.
fn name(key: Key) -> String {
    match key {
        Key::User(id) => format!("parlance:rate_limit:user:{id}"),
        Key::Network(network) => format!("parlance:rate_limit:network:{network:x}"),
        Key::UserExpensive(id) => format!("parlance:rate_limit:expensive:user:{id}"),
        Key::NetworkExpensive(network) => format!("parlance:rate_limit:expensive:network:{network:x}"),
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
