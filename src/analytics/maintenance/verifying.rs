//! Compares the counts of tenants with their messages, day by day within one snapshot of each tenant.
//!
//! Bounds: a day of a tenant is in memory at a time, and all of its people.

use super::report::{CountsReport, Difference, MaintenanceError};
use crate::analytics::block::{CellKey, Counts, QUARTER_MS};
use crate::analytics::error::Error;
use crate::analytics::period::format_utc;
use crate::analytics::replies::delay;
use crate::analytics::store::{self, Answerable, Counted, Mergeable};
use crate::analytics::zone::DAY_MS;
use crate::database::{Database, Transaction};
use crate::ids::{TenantId, UserId, UserKind};
use std::collections::{BTreeMap, BTreeSet};

/// Compares the counts of all tenants, or of one. `progress` is called after each day, `found` for
/// each difference.
///
/// # Errors
/// [`MaintenanceError`]; then nothing is known of the rest.
pub async fn verify(
    database: &Database,
    only: Option<TenantId>,
    mut progress: impl FnMut(&CountsReport),
    mut found: impl FnMut(&Difference),
) -> Result<CountsReport, MaintenanceError> {
    let mut client = database.client().await?;
    let tx = client.transaction().await?;
    let tenants = store::list_tenants(&tx, only).await?;
    let mut report = CountsReport::default();
    for tenant in &tenants {
        report.total += store::count_messages(&tx, *tenant).await?;
    }
    tx.commit().await?;
    if let Some(unknown) = only.filter(|_| tenants.is_empty()) {
        return Err(MaintenanceError::UnknownTenant(unknown));
    }
    for tenant in tenants {
        let tx = client.read_snapshot().await?;
        let answerable = store::load_answerable(&tx, tenant).await?;
        let through = answerable.data_through.ok_or(Error::NotCounted)?;
        let verified = Verified {
            tx: &tx,
            tenant,
            answerable,
            through,
        };
        verified.compare(&mut report, &mut progress, &mut found).await?;
        tx.rollback().await?;
    }
    Ok(report)
}

/// A tenant in a snapshot.
struct Verified<'a> {
    tx: &'a Transaction<'a>,
    tenant: TenantId,
    answerable: Answerable,
    through: i64,
}

impl Verified<'_> {
    async fn compare(
        &self,
        report: &mut CountsReport,
        progress: &mut impl FnMut(&CountsReport),
        found: &mut impl FnMut(&Difference),
    ) -> Result<(), Error> {
        let generation = self.answerable.generation;
        let mut first_posts = BTreeMap::new();
        let span = store::find_span(self.tx, self.tenant, generation).await?;
        let mut differs = |report: &mut CountsReport, difference: Difference| {
            report.differences += 1;
            found(&difference);
        };
        if let Some((first, last)) = span {
            for day in first..=last {
                let expected = self.count_day(day, &mut first_posts, report).await?;
                let block = Mergeable {
                    day: Counted {
                        tenant: self.tenant,
                        generation,
                        day,
                    },
                    level: None,
                };
                let (counted, _, _) = store::load_blocks(self.tx, &block).await?;
                for difference in self.differences(counted, expected) {
                    differs(report, difference);
                }
                progress(report);
            }
        }
        let known = store::list_people(self.tx, self.tenant, generation).await?;
        for difference in self.differing_people(&known, &first_posts) {
            differs(report, difference);
        }
        Ok(())
    }

    /// What the messages of a day say.
    async fn count_day(
        &self,
        day: i32,
        first_posts: &mut BTreeMap<UserId, i64>,
        report: &mut CountsReport,
    ) -> Result<Counts, Error> {
        let from = i64::from(day) * DAY_MS;
        let to = (from + DAY_MS).min(self.through);
        let mut counts = Counts::default();
        if from >= to {
            return Ok(counts);
        }
        for message in store::list_raw_with_replies(self.tx, self.tenant, &[(from, to)]).await? {
            let key = CellKey {
                quarter: message.at.div_euclid(QUARTER_MS),
                conversation: message.conversation,
                user: message.user,
                kind: message.kind,
            };
            counts.add(key, message.at, delay(message.kind, message.at, message.before));
            if message.kind == UserKind::Person {
                let first = first_posts.entry(message.user).or_insert(message.at);
                *first = (*first).min(message.at);
            }
            report.messages += 1;
        }
        Ok(counts)
    }

    fn difference(&self, what: String, counted: String, expected: String) -> Difference {
        Difference {
            tenant: self.tenant,
            what,
            counted,
            expected,
        }
    }

    fn differences(&self, mut counted: Counts, mut expected: Counts) -> Vec<Difference> {
        let mut differences = Vec::new();
        let keys: BTreeSet<CellKey> = counted.cells.keys().chain(expected.cells.keys()).copied().collect();
        for key in keys {
            let (ours, theirs) = (counted.cells.get(&key), expected.cells.get(&key));
            if ours != theirs {
                let said = |count: Option<&crate::analytics::block::CellCount>| {
                    count.map_or("0 messages".to_owned(), |count| {
                        format!("{} messages, the last at {}", count.messages, format_utc(count.last_at))
                    })
                };
                let CellKey {
                    quarter,
                    conversation,
                    user,
                    kind,
                } = key;
                let at = format_utc(quarter * QUARTER_MS);
                let what = format!("quarter of an hour from {at}, conversation {conversation}, {kind} {user}");
                differences.push(self.difference(what, said(ours), said(theirs)));
            }
        }
        for delays in counted.delays.values_mut().chain(expected.delays.values_mut()) {
            delays.sort_unstable();
        }
        let quarters: BTreeSet<i64> = counted.delays.keys().chain(expected.delays.keys()).copied().collect();
        for quarter in quarters {
            let (ours, theirs) = (counted.delays.get(&quarter), expected.delays.get(&quarter));
            if ours != theirs {
                let said = |delays: Option<&Vec<i64>>| {
                    let sum: i64 = delays.into_iter().flatten().sum();
                    format!("{} of {sum} ms together", delays.map_or(0, Vec::len))
                };
                let what = format!(
                    "reply delays of the quarter of an hour from {}",
                    format_utc(quarter * QUARTER_MS)
                );
                differences.push(self.difference(what, said(ours), said(theirs)));
            }
        }
        differences
    }

    fn differing_people(&self, known: &BTreeMap<UserId, i64>, expected: &BTreeMap<UserId, i64>) -> Vec<Difference> {
        let people: BTreeSet<UserId> = known.keys().chain(expected.keys()).copied().collect();
        let said = |at: Option<&i64>| at.map_or("never".to_owned(), |at| format_utc(*at));
        let differing = people.into_iter().filter(|user| known.get(user) != expected.get(user));
        differing
            .map(|user| {
                let what = format!("first post of {user}");
                self.difference(what, said(known.get(&user)), said(expected.get(&user)))
            })
            .collect()
    }
}
