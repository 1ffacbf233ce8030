//! Exports: rows as they come, in pages behind each other, in constant memory.
//!
//! * Each page is a query of its own by the index of a tenant's messages by time. So no transaction
//!   is held open for minutes, no connection is kept, and a client that goes away ends it with the page.
//! * The next page is read when the client has taken the last one. So a slow client costs one page
//!   ([`PAGE`] rows, some 3 MiB), and no more than the time of its route.
//! * Pages of a node are read in turns: [`TURNS`]. Whoever waits 2 s for the first one gets
//!   `overloaded`.
//! * At its end, at its limit, when its time is over or when a page fails, the last line says where
//!   the next export goes on. Before the first page a failure is a failure of the request.
//! * A range that ended a minute ago is read from the replica, if there is one that is well.

use super::error::Error;
use super::export_rows::{ExportCursor, ExportFormat, ExportKind, LineWriter};
use super::period::Period;
use super::store::export::{self as export_store, CountsAfter, MessagesAfter, NO_ID};
use crate::database::{self, Client, Database, Transaction};
use crate::fairness::{Claimant, FairPermits, TurnLimits};
use crate::ids::{ConversationId, Seq, TenantId, UserId};
use crate::metrics::SharedResource;
use bytes::Bytes;
use chrono::Utc;
use futures_util::{Stream, stream};
use std::convert::Infallible;
use std::time::{Duration, Instant};

/// Rows of a page.
const PAGE: u64 = 8_192;
/// Pages that are read at a time.
const TURNS: TurnLimits = TurnLimits {
    running_max: 3,
    running_of_group_max: 2,
    running_of_member_max: 1,
    waiting_max: 1_000,
    waiting_of_group_max: 40,
    waiting_of_member_max: 20,
};
/// How long the first page waits for its turn.
const FIRST_PATIENCE: Duration = Duration::from_secs(2);
/// How long a later one does; then the export ends with a cursor.
const PATIENCE: Duration = Duration::from_secs(20);
/// Hours of which counts are read at a time.
const HOURS_MAX: usize = 744;
/// What is younger is not read from a replica, in milliseconds.
const REPLICA_AGE_MS: i64 = 60_000;

/// What is to be exported.
#[derive(Clone, Debug)]
pub struct ExportRequest {
    pub tenant: TenantId,
    /// Who asks.
    pub user: UserId,
    pub period: Period,
    pub kind: ExportKind,
    pub format: ExportFormat,
    /// Rows.
    pub limit: u64,
    /// Behind which row it goes on.
    pub cursor: Option<ExportCursor>,
    /// When it has to end.
    pub ends_at: Instant,
}

/// Exports of a node. Cheap to clone.
#[derive(Clone)]
pub struct Exports {
    database: Database,
    turns: FairPermits<TenantId, UserId>,
}

impl Exports {
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self {
            database,
            turns: FairPermits::new(SharedResource::Exports, TURNS),
        }
    }

    /// Begins an export: reads its first page. The stream has the rest, piece by piece.
    ///
    /// # Errors
    /// [`Error::Overloaded`], [`Error::Database`]. The stream itself does not fail.
    pub async fn begin(
        &self,
        request: ExportRequest,
    ) -> Result<impl Stream<Item = Result<Bytes, Infallible>> + use<>, Error> {
        let mut run = ExportRun::new(self.clone(), request);
        run.writer.head(run.request.kind);
        run.read_page(FIRST_PATIENCE).await?;
        Ok(stream::unfold(run, |mut run| async move {
            let piece = run.next_piece().await?;
            Some((Ok(piece), run))
        }))
    }

    /// Reads on the replica where `is_old`, and there is one that is well.
    async fn read<T>(
        &self,
        is_old: bool,
        work: impl AsyncFn(&Transaction<'_>) -> Result<T, database::Error>,
    ) -> Result<T, database::Error> {
        let read = async |client: &mut Client| {
            let tx = client.read_snapshot().await?;
            export_store::prepare(&tx).await?;
            let page = work(&tx).await?;
            tx.commit().await?;
            Ok(page)
        };
        if is_old && let Some(page) = self.database.read_stale(&read).await {
            return page;
        }
        // Whoever goes away ends the statement.
        let mut client = self.database.cancelling_client().await?;
        let page = read(&mut client).await;
        client.settle();
        page
    }
}

/// An export under way.
struct ExportRun {
    exports: Exports,
    request: ExportRequest,
    writer: LineWriter,
    /// Rows that may still come.
    left: u64,
    /// The last row, or what the client has sent.
    last: Option<ExportCursor>,
    /// Where the hours of counts go on.
    hour_at: i64,
    hours: usize,
    /// The last line is written.
    is_done: bool,
}

impl ExportRun {
    fn new(exports: Exports, request: ExportRequest) -> Self {
        let hour_at = match request.cursor {
            Some(ExportCursor::Count { hour, .. }) => hour.max(request.period.from),
            _ => request.period.from,
        };
        Self {
            exports,
            writer: LineWriter::new(request.format, request.period.zone.clone()),
            left: request.limit,
            last: request.cursor,
            hour_at,
            hours: 24,
            is_done: false,
            request,
        }
    }

    /// What is written, and then what comes next.
    async fn next_piece(&mut self) -> Option<Bytes> {
        while self.writer.text.is_empty() && !self.is_done {
            if Instant::now() >= self.request.ends_at {
                self.end(self.last);
            } else if let Err(error) = self.read_page(PATIENCE).await {
                tracing::warn!(%error, tenant.id = %self.request.tenant, "an export ends before its end");
                self.end(self.last);
            }
        }
        let text = std::mem::take(&mut self.writer.text);
        (!text.is_empty()).then(|| Bytes::from(text))
    }

    fn end(&mut self, next: Option<ExportCursor>) {
        self.writer.next(next);
        self.is_done = true;
    }

    async fn read_page(&mut self, patience: Duration) -> Result<(), Error> {
        let claimant = Claimant {
            group: self.request.tenant,
            member: self.request.user,
        };
        let turn = self.exports.turns.acquire_within(claimant, patience).await;
        let _turn = turn.map_err(|_beyond| Error::Overloaded)?;
        match self.request.kind {
            ExportKind::Messages => self.read_messages().await,
            ExportKind::Counts => self.read_counts().await,
        }
    }

    /// How many rows are asked for: one more than may be written, to know whether there are more.
    fn wanted(&self) -> i64 {
        i64::try_from(self.left.min(PAGE) + 1).unwrap_or(i64::MAX)
    }

    fn is_old(&self) -> bool {
        self.request.period.to < Utc::now().timestamp_millis() - REPLICA_AGE_MS
    }

    async fn read_messages(&mut self) -> Result<(), Error> {
        let period = &self.request.period;
        let beginning = MessagesAfter {
            at: period.from,
            conversation: ConversationId(NO_ID),
            seq: Seq(-1),
            to: period.to,
        };
        let after = match self.last {
            Some(ExportCursor::Message {
                created_at,
                conversation,
                seq,
            }) if created_at >= period.from => MessagesAfter {
                at: created_at,
                conversation,
                seq,
                to: period.to,
            },
            _ => beginning,
        };
        let (tenant, wanted) = (self.request.tenant, self.wanted());
        let read = self.exports.read(self.is_old(), async |tx| {
            export_store::list_messages(tx, tenant, &after, wanted).await
        });
        let mut rows = read.await?;
        let has_more = i64::try_from(rows.len()).unwrap_or(i64::MAX) >= wanted;
        if has_more {
            rows.pop();
        }
        for row in &rows {
            self.writer.message(row);
        }
        if let Some(row) = rows.last() {
            self.last = Some(ExportCursor::Message {
                created_at: row.created_at,
                conversation: row.conversation,
                seq: row.seq,
            });
        }
        self.left -= rows.len() as u64;
        if !has_more {
            self.end(None);
        } else if self.left == 0 {
            self.end(self.last);
        }
        Ok(())
    }

    async fn read_counts(&mut self) -> Result<(), Error> {
        let window = HourWindow::of(&self.request.period, self.hour_at, self.hours);
        let Some(until) = window.to.last().copied() else {
            self.end(None);
            return Ok(());
        };
        // Only where it goes on within an hour.
        let (conversation, user, kind) = match self.last {
            Some(ExportCursor::Count {
                hour,
                conversation,
                user,
                kind,
            }) if window.hours.first() == Some(&hour) => (conversation, user, kind.as_str()),
            _ => (ConversationId(NO_ID), UserId(NO_ID), ""),
        };
        let after = CountsAfter {
            from: window.from,
            to: window.to,
            conversation,
            user,
            kind,
        };
        let (tenant, wanted) = (self.request.tenant, self.wanted());
        let hours = &window.hours;
        let read = self.exports.read(self.is_old(), async |tx| {
            export_store::list_counts(tx, tenant, &after, hours, wanted).await
        });
        let mut rows = read.await?;
        let has_more = i64::try_from(rows.len()).unwrap_or(i64::MAX) >= wanted;
        if has_more {
            rows.pop();
        }
        for row in &rows {
            self.writer.count(row);
        }
        if let Some(row) = rows.last() {
            self.last = Some(ExportCursor::Count {
                hour: row.hour,
                conversation: row.conversation,
                user: row.user,
                kind: row.kind,
            });
        }
        self.left -= rows.len() as u64;
        if !has_more {
            self.hour_at = until;
            self.hours = (self.hours * 2).min(HOURS_MAX);
        } else if self.left == 0 {
            self.end(self.last);
        } else {
            // What was counted beyond the page is counted again.
            self.hours = (self.hours / 2).max(1);
            if let Some(row) = rows.last() {
                self.hour_at = row.hour.max(self.request.period.from);
            }
        }
        Ok(())
    }
}

/// Some hours of the calendar, cut by a period.
struct HourWindow {
    /// When each begins in the calendar.
    hours: Vec<i64>,
    from: Vec<i64>,
    to: Vec<i64>,
}

impl HourWindow {
    /// The hours from that of `at` on, at most `most`.
    fn of(period: &Period, mut at: i64, most: usize) -> Self {
        let mut window = Self {
            hours: Vec::with_capacity(most),
            from: Vec::with_capacity(most),
            to: Vec::with_capacity(most),
        };
        while at < period.to && window.hours.len() < most {
            let end = period.zone.hour_end(at).min(period.to);
            window.hours.push(period.zone.hour_start(at));
            window.from.push(at);
            window.to.push(end);
            at = end;
        }
        window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_cut_by_the_period_and_follow_each_other() {
        let period = Period::parse(
            Some("2026-10-25T00:30:00+02:00"),
            Some("2026-10-25T04:15:00+01:00"),
            Some("Europe/Berlin"),
            0,
        )
        .unwrap();
        let all = HourWindow::of(&period, period.from, 100);
        assert_eq!(all.hours.len(), 6, "the hour that comes twice is two");
        assert_eq!((all.from[0], all.to[5]), (period.from, period.to));
        assert_eq!(all.hours[0], period.from - 1_800_000);
        assert_eq!(all.from[1..], all.to[..5]);
        let rest = HourWindow::of(&period, all.from[2], 2);
        assert_eq!(rest.hours, all.hours[2..4]);
        assert!(HourWindow::of(&period, period.to, 5).hours.is_empty());
    }
}
