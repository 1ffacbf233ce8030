//! The client of `lease.lua`: Redis leases parts of quotas, in one script call for a batch of
//! requests.
//!
//! The script says how it counts. Here is only how a request is encoded and a reply read. A reply
//! of another shape is a failure, like none. On a cluster the keys of a batch are on different
//! servers, which cannot run one script together. So each request is a call of its own there,
//! [`AT_ONCE`] at a time. Requests whose server fails get no grant; the others get theirs.

use super::lease::LeaseSlots;
use super::local_quota::{LeaseGrant, LeaseRequest, lease_life};
use super::table::SubjectKey;
use super::window::Spans;
use crate::redis::{Error, Redis};
use futures_util::{StreamExt as _, stream};
use redis::Script;
use std::sync::LazyLock;

/// The script; sent by its hash.
static LEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lease.lua")));

/// Calls that are under way at the same time on a cluster.
const AT_ONCE: usize = 8;

/// Makes all requests. The grants are in their order, `None` where there was no reply that can be
/// read.
///
/// # Errors
/// That of Redis, if it replied to none.
pub(super) async fn request_leases(
    redis: &Redis,
    spans: Spans,
    requests: &[(SubjectKey, LeaseRequest)],
) -> Result<Vec<Option<LeaseGrant>>, Error> {
    if !redis.is_cluster() {
        let replies = call(redis, spans, requests).await?;
        let read = replies.iter().map(|reply| read(reply));
        return Ok(read.chain(std::iter::repeat(None)).take(requests.len()).collect());
    }
    let calls = requests
        .iter()
        .map(|request| call(redis, spans, std::slice::from_ref(request)));
    let replies: Vec<_> = stream::iter(calls).buffered(AT_ONCE).collect().await;
    if replies.iter().all(Result::is_err) {
        return replies
            .into_iter()
            .next()
            .map_or(Ok(Vec::new()), |reply| reply.map(|_| Vec::new()));
    }
    Ok(replies
        .into_iter()
        .map(|reply| {
            reply
                .ok()
                .as_deref()
                .and_then(<[_]>::first)
                .and_then(|reply| read(reply))
        })
        .collect())
}

/// One call of the script; all of its keys have to be at the same server.
async fn call(redis: &Redis, spans: Spans, requests: &[(SubjectKey, LeaseRequest)]) -> Result<Vec<Vec<u64>>, Error> {
    let mut invocation = LEASE.prepare_invoke();
    for (key, _) in requests {
        invocation.key(name(*key));
    }
    invocation.arg(spans.minute).arg(spans.hour).arg(lease_life(spans));
    for (_, request) in requests {
        invocation
            .arg(request.cost)
            .arg(request.wanted)
            .arg(request.quota.per_minute)
            .arg(request.quota.per_hour)
            .arg(request.unsynced)
            .arg(request.returned)
            .arg(request.slots.minute)
            .arg(request.slots.hour);
    }
    match requests.first() {
        Some((first, _)) => redis.run_for(&name(*first), "rate_limit_lease", &invocation).await,
        None => Ok(Vec::new()),
    }
}

/// The key of a subject. On a cluster they are spread over the slots, and so over the servers.
fn name(key: SubjectKey) -> String {
    match key {
        SubjectKey::User(id) => format!("parlance:rate_limit:user:{id}"),
        SubjectKey::Network(network) => format!("parlance:rate_limit:network:{network:x}"),
        SubjectKey::Tenant(id) => format!("parlance:rate_limit:tenant:{id}"),
        SubjectKey::NetworkCredentials(network) => format!("parlance:rate_limit:credentials:network:{network:x}"),
        SubjectKey::NetworkSignUp(network) => format!("parlance:rate_limit:sign_up:network:{network:x}"),
        SubjectKey::UserExpensive(id) => format!("parlance:rate_limit:expensive:user:{id}"),
        SubjectKey::NetworkExpensive(network) => format!("parlance:rate_limit:expensive:network:{network:x}"),
    }
}

fn read(reply: &[u64]) -> Option<LeaseGrant> {
    let [
        granted,
        minute,
        hour,
        minute_left,
        hour_left,
        minute_reset_ms,
        hour_reset_ms,
        retry_after_ms,
    ] = *reply.first_chunk()?;
    Some(LeaseGrant {
        granted: u32::try_from(granted).ok()?,
        slots: LeaseSlots { minute, hour },
        minute_left: u32::try_from(minute_left).ok()?,
        hour_left: u32::try_from(hour_left).ok()?,
        minute_reset_ms,
        hour_reset_ms,
        retry_after_ms,
    })
}
