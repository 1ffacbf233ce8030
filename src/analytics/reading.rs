//! Answers a question from one snapshot: reads the blocks and cut quarters that it needs, and adds
//! them up.
//!
//! Bounds: blocks are read [`DAYS_AT_A_TIME`] at a time, so a year is never in memory at once; what
//! is added up grows with people, conversations and buckets. A part that takes longer than the
//! statement timeout is an error.

use super::active::ActiveTally;
use super::block::{QUARTER_MS, QUARTERS_OF_DAY, for_each_delay};
use super::error::Error;
use super::period::{Bucket, Period};
use super::question::{Asked, Computed, GroupBy, Numbers, Question, SeriesKey, Totals};
use super::replies::delay;
use super::series::{GroupTally, SeriesTally};
use super::store::{self, Answerable, Made};
use super::summary::SummaryTally;
use super::tally::{Cell, Ids, RawMessage, Scan};
use super::tops::{ConversationsTally, HeatmapTally, UsageTally, UsersTally};
use super::zone::HOUR_MS;
use crate::database::{Client, Transaction};
use crate::ids::{TenantId, UserId};
use std::sync::Arc;

/// Days of blocks that are in memory at a time.
const DAYS_AT_A_TIME: i32 = 32;

/// Answers a question about a tenant.
pub(super) async fn answer(client: &mut Client, tenant: TenantId, asked: &Asked) -> Result<Computed, Error> {
    let tx = client.read_snapshot().await?;
    let answerable = store::load_answerable(&tx, tenant).await?;
    let data_through = answerable.data_through.ok_or(Error::NotCounted)?;
    let reading = Reading {
        tx: &tx,
        tenant,
        answerable,
        data_through,
    };
    let numbers = reading.answer(asked).await?;
    tx.rollback().await?;
    Ok(Computed {
        numbers: Arc::new(numbers),
        generated_at: answerable.now,
        data_through,
    })
}

/// A snapshot, and of whom it is read.
struct Reading<'a> {
    tx: &'a Transaction<'a>,
    tenant: TenantId,
    answerable: Answerable,
    data_through: i64,
}

impl Reading<'_> {
    async fn answer(&self, asked: &Asked) -> Result<Numbers, Error> {
        let period = &asked.period;
        Ok(match asked.question {
            Question::Summary => self.summary(period).await?,
            Question::Messages {
                granularity,
                group_by,
                limit,
            } => {
                let buckets = period.buckets(granularity)?;
                self.messages(period, &buckets, group_by, limit).await?
            }
            Question::ActiveUsers { granularity } => {
                let buckets = period.buckets(granularity)?;
                self.active(period, &buckets).await?
            }
            Question::TopUsers { limit } => {
                let mut tally = UsersTally::new(period);
                let scan = self.scan(period.from, period.to, tally.boundaries());
                let ids = self.read(&scan, |cell| tally.add(cell)).await?;
                Numbers::TopUsers(tally.finish(limit, &ids))
            }
            Question::TopConversations { order, limit } => {
                let mut tally = ConversationsTally::default();
                let scan = self.scan(period.from, period.to, &[]);
                let ids = self.read(&scan, |cell| tally.add(cell)).await?;
                Numbers::TopConversations(tally.finish(order, limit, &ids))
            }
            Question::Heatmap => {
                let mut tally = HeatmapTally::new(period.zone.clone());
                let scan = self.scan(period.from, period.to, &hours_that_cut(period));
                self.read(&scan, |cell| tally.add(cell)).await?;
                Numbers::Heatmap(tally.finish())
            }
            Question::Usage { user, granularity } => {
                let buckets = period.buckets(granularity)?;
                self.usage(period, &buckets, user).await?
            }
        })
    }

    /// A scan of what is counted of a range.
    fn scan(&self, from: i64, to: i64, boundaries: &[i64]) -> Scan {
        Scan::new(from, to.min(self.data_through), boundaries.iter().copied())
    }

    async fn summary(&self, period: &Period) -> Result<Numbers, Error> {
        let before = period.previous();
        let mut tally = SummaryTally::new(period.from);
        let scan = self.scan(before.from, period.to, &[period.from]);
        let raw = match scan.raw_ranges() {
            ranges if scan.is_empty() || ranges.is_empty() => Vec::new(),
            ranges => store::list_raw_with_replies(self.tx, self.tenant, &ranges).await?,
        };
        self.read_with(&scan, &raw, &mut Ids::default(), |cell| tally.add(cell))
            .await?;
        for message in &raw {
            if let Some(delay) = delay(message.kind, message.at, message.before) {
                tally.add_delay(message.at, delay);
            }
        }
        self.read_delays(&scan, |at, delay| tally.add_delay(at, delay)).await?;
        let [mut previous, mut current] = tally.finish();
        for (totals, from, to) in [
            (&mut previous, before.from, before.to),
            (&mut current, period.from, period.to),
        ] {
            let to = to.min(self.data_through);
            if from < to {
                let made = store::count_made(self.tx, self.tenant, (from, to)).await?;
                note_made(totals, made);
            }
        }
        Ok(Numbers::Summary { current, previous })
    }

    async fn messages(
        &self,
        period: &Period,
        buckets: &[Bucket],
        group_by: GroupBy,
        limit: usize,
    ) -> Result<Numbers, Error> {
        let boundaries: Vec<i64> = buckets.iter().map(|bucket| bucket.from).collect();
        let scan = self.scan(period.from, period.to, &boundaries);
        let raw = self.read_raw(&scan).await?;
        let mut ids = Ids::default();
        let keys = if group_by == GroupBy::None {
            vec![SeriesKey::All]
        } else {
            let mut groups = GroupTally::new(group_by);
            self.read_with(&scan, &raw, &mut ids, |cell| groups.add(cell)).await?;
            groups.largest(limit, &ids).0
        };
        let mut tally = SeriesTally::new(group_by, buckets, &keys, &ids);
        self.read_with(&scan, &raw, &mut ids, |cell| tally.add(cell)).await?;
        Ok(Numbers::Messages(tally.finish()))
    }

    async fn active(&self, period: &Period, buckets: &[Bucket]) -> Result<Numbers, Error> {
        let mut tally = ActiveTally::new(period, buckets);
        let scan = self.scan(tally.from(), period.to, tally.boundaries());
        self.read(&scan, |cell| tally.add(cell)).await?;
        let to = period.to.min(self.data_through);
        let mut first_posts = Vec::new();
        if period.from < to {
            let range = (period.from, to);
            first_posts = store::list_first_posts(self.tx, self.tenant, self.answerable.generation, range).await?;
        }
        Ok(Numbers::ActiveUsers(tally.finish(&first_posts)))
    }

    async fn usage(&self, period: &Period, buckets: &[Bucket], user: UserId) -> Result<Numbers, Error> {
        let boundaries: Vec<i64> = buckets.iter().map(|bucket| bucket.from).collect();
        let scan = self.scan(period.from, period.to, &boundaries);
        let mut tally = UsageTally::new(buckets);
        let mut ids = Ids::default();
        let place = ids.users.place(user);
        let raw = self.read_raw(&scan).await?;
        let add = |cell: &Cell| {
            if cell.user == place {
                tally.add(cell);
            }
        };
        self.read_with(&scan, &raw, &mut ids, add).await?;
        let (values, conversations) = tally.finish();
        Ok(Numbers::Usage {
            messages: values.iter().sum(),
            conversations,
            values,
        })
    }

    /// Gives the cells of a scan.
    async fn read(&self, scan: &Scan, each: impl FnMut(&Cell)) -> Result<Ids, Error> {
        let raw = self.read_raw(scan).await?;
        let mut ids = Ids::default();
        self.read_with(scan, &raw, &mut ids, each).await?;
        Ok(ids)
    }

    /// The messages of the quarters that a scan cuts.
    async fn read_raw(&self, scan: &Scan) -> Result<Vec<RawMessage>, Error> {
        let ranges = scan.raw_ranges();
        if scan.is_empty() || ranges.is_empty() {
            return Ok(Vec::new());
        }
        Ok(store::list_raw(self.tx, self.tenant, &ranges).await?)
    }

    async fn read_with(
        &self,
        scan: &Scan,
        raw: &[RawMessage],
        ids: &mut Ids,
        mut each: impl FnMut(&Cell),
    ) -> Result<(), Error> {
        for message in raw {
            each(&message.cell(ids));
        }
        for days in pages_of_days(scan) {
            let rows = store::list_cells(self.tx, self.tenant, self.answerable.generation, days).await?;
            for row in &rows {
                scan.read_block(row.get(0), ids, &mut each)?;
            }
        }
        Ok(())
    }

    async fn read_delays(&self, scan: &Scan, mut each: impl FnMut(i64, i64)) -> Result<(), Error> {
        for days in pages_of_days(scan) {
            let rows = store::list_delays(self.tx, self.tenant, self.answerable.generation, days).await?;
            for row in &rows {
                for_each_delay(row.get(0), |quarter, delay| {
                    if scan.takes(quarter) {
                        each(quarter * QUARTER_MS, delay);
                    }
                })?;
            }
        }
        Ok(())
    }
}

fn note_made(totals: &mut Totals, made: Made) {
    totals.conversations_started = made.conversations;
    totals.new_users = made.people;
}

/// The boundaries of hours, where some are within a quarter of an hour of UTC.
fn hours_that_cut(period: &Period) -> Vec<i64> {
    let zone = &period.zone;
    if zone.has_whole_quarters(period.from, period.to) {
        return Vec::new();
    }
    let mut hours = Vec::new();
    let mut at = zone.hour_end(period.from);
    while at < period.to {
        hours.push(at);
        at = zone.hour_end(at);
    }
    hours
}

/// The days of UTC that a scan reads, some at a time.
fn pages_of_days(scan: &Scan) -> Vec<(i32, i32)> {
    const DAY: i64 = QUARTER_MS * QUARTERS_OF_DAY;
    const { assert!(DAY == 24 * HOUR_MS) };
    if scan.is_empty() {
        return Vec::new();
    }
    let day = |at: i64| i32::try_from(at.div_euclid(DAY)).unwrap_or(i32::MAX);
    let (first, last) = (day(scan.from), day(scan.to - 1));
    let step = usize::try_from(DAYS_AT_A_TIME).unwrap_or(1);
    (first..=last)
        .step_by(step)
        .map(|start| (start, last.min(start.saturating_add(DAYS_AT_A_TIME - 1))))
        .collect()
}
