//! The answers of analytics: numbers with the names that their caller may read.

use crate::analytics::{
    ActiveCounts, Asked, Bucket, Computed, ConversationTotals, Names, Numbers, Period, Series, SeriesKey, Totals,
    UserTotals, format_in, format_utc,
};
use crate::ids::{ConversationId, UserId, UserKind};
use serde::Serialize;
use utoipa::ToSchema;

/// What every answer has.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct AnswerFrame {
    /// The beginning of the range, in UTC.
    #[schema(format = DateTime)]
    from: String,
    /// The end of the range, in UTC; not included.
    #[schema(format = DateTime)]
    to: String,
    /// The time zone, as it was asked for.
    tz: String,
    /// When it was computed.
    #[schema(format = DateTime)]
    generated_at: String,
    /// Everything that was committed before is in it, and nothing from later.
    #[schema(format = DateTime)]
    data_through: String,
}

impl AnswerFrame {
    pub(crate) fn new(period: &Period, computed: &Computed) -> Self {
        Self::of(period, computed.generated_at, computed.data_through)
    }

    /// The same of an answer that was computed otherwise; times in milliseconds.
    pub(crate) fn of(period: &Period, generated_at: i64, data_through: i64) -> Self {
        Self {
            from: format_utc(period.from),
            to: format_utc(period.to),
            tz: period.zone.name().to_owned(),
            generated_at: format_utc(generated_at),
            data_through: format_utc(data_through),
        }
    }
}

/// The summary of a range, beside that of the range before.
#[derive(Serialize, ToSchema)]
pub(crate) struct SummaryAnswer {
    #[serde(flatten)]
    frame: AnswerFrame,
    /// The range.
    current: Totals,
    /// The range before: as many calendar days where both ends are midnights, else as long.
    previous: Totals,
}

/// Messages over time.
#[derive(Serialize, ToSchema)]
pub(crate) struct MessagesAnswer {
    #[serde(flatten)]
    frame: AnswerFrame,
    /// How long a bucket is.
    granularity: &'static str,
    /// When the buckets begin in the calendar.
    points: Vec<String>,
    /// The groups, the largest first; the rest together last, as `other`.
    series: Vec<SeriesAnswer>,
}

/// A group.
#[derive(Serialize, ToSchema)]
pub(crate) struct SeriesAnswer {
    /// `all`, `other`, an id, or a kind.
    key: String,
    /// The name or title, where there is one that the caller may read.
    label: Option<String>,
    /// A number for each point.
    values: Vec<u64>,
    /// Their sum.
    total: u64,
}

/// Who was active.
#[derive(Serialize, ToSchema)]
pub(crate) struct ActiveUsersAnswer {
    #[serde(flatten)]
    frame: AnswerFrame,
    /// A point for each bucket.
    points: Vec<ActivePoint>,
}

/// The people of a bucket.
#[derive(Serialize, ToSchema)]
pub(crate) struct ActivePoint {
    /// When the bucket begins in the calendar.
    at: String,
    /// Who posted in it.
    active: u64,
    /// Of them, who had never posted before.
    new: u64,
    /// The others of them.
    returning: u64,
    /// Who posted in the 7 days that end with it.
    weekly: u64,
    /// Who posted in the 30 days that end with it.
    monthly: u64,
    /// `active / monthly`; null at 0.
    stickiness: Option<f64>,
}

/// Who posted most.
#[derive(Serialize, ToSchema)]
pub(crate) struct TopUsersAnswer {
    #[serde(flatten)]
    frame: AnswerFrame,
    /// Most messages first.
    items: Vec<TopUser>,
}

/// A user and what they posted.
#[derive(Serialize, ToSchema)]
pub(crate) struct TopUser {
    user: NamedUser,
    messages: u64,
    /// In how many conversations.
    conversations: u64,
    /// On how many days.
    active_days: u64,
    /// When the last.
    #[schema(format = DateTime)]
    last_message_at: String,
}

/// A user.
#[derive(Serialize, ToSchema)]
pub(crate) struct NamedUser {
    id: UserId,
    name: Option<String>,
    kind: UserKind,
}

/// Where most was posted.
#[derive(Serialize, ToSchema)]
pub(crate) struct TopConversationsAnswer {
    #[serde(flatten)]
    frame: AnswerFrame,
    /// In the order that was asked for.
    items: Vec<TopConversation>,
}

/// A conversation and what was posted in it.
#[derive(Serialize, ToSchema)]
pub(crate) struct TopConversation {
    conversation: TitledConversation,
    messages: u64,
    /// How many people posted.
    participants: u64,
    /// When the last.
    #[schema(format = DateTime)]
    last_message_at: String,
}

/// A conversation.
#[derive(Serialize, ToSchema)]
pub(crate) struct TitledConversation {
    id: ConversationId,
    /// Null for who is not a member, for keys without `chat`, and of deleted ones.
    title: Option<String>,
}

/// Messages by weekday and hour.
#[derive(Serialize, ToSchema)]
pub(crate) struct HeatmapAnswer {
    #[serde(flatten)]
    frame: AnswerFrame,
    /// Seven rows, Monday first, of 24 numbers.
    cells: Vec<Vec<u64>>,
    /// Their sum.
    total: u64,
}

/// What the caller posted.
#[derive(Serialize, ToSchema)]
pub(crate) struct UsageAnswer {
    #[serde(flatten)]
    frame: AnswerFrame,
    /// How many messages.
    messages: u64,
    /// In how many conversations.
    conversations: u64,
    /// A point for each bucket.
    points: Vec<UsagePoint>,
}

/// What the caller posted in a bucket.
#[derive(Serialize, ToSchema)]
pub(crate) struct UsagePoint {
    /// When the bucket begins in the calendar.
    at: String,
    messages: u64,
}

/// An answer as it is sent.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Answer {
    Summary(SummaryAnswer),
    Messages(MessagesAnswer),
    ActiveUsers(ActiveUsersAnswer),
    TopUsers(TopUsersAnswer),
    TopConversations(TopConversationsAnswer),
    Heatmap(HeatmapAnswer),
    Usage(UsageAnswer),
}

impl Answer {
    /// `buckets` are those of the question, if it has some, and `granularity` is how long they are.
    pub(crate) fn new(
        asked: &Asked,
        buckets: &[Bucket],
        granularity: &'static str,
        computed: &Computed,
        names: &Names,
    ) -> Self {
        let period = &asked.period;
        let frame = AnswerFrame::new(period, computed);
        let at = |bucket: &Bucket| format_in(&period.zone, bucket.at);
        match &*computed.numbers {
            Numbers::Summary { current, previous } => Self::Summary(SummaryAnswer {
                frame,
                current: current.clone(),
                previous: previous.clone(),
            }),
            Numbers::Messages(series) => Self::Messages(MessagesAnswer {
                frame,
                granularity,
                points: buckets.iter().map(at).collect(),
                series: series.iter().map(|one| named_series(one, names)).collect(),
            }),
            Numbers::ActiveUsers(counts) => Self::ActiveUsers(ActiveUsersAnswer {
                frame,
                points: buckets
                    .iter()
                    .zip(counts)
                    .map(|(bucket, counts)| active_point(at(bucket), counts))
                    .collect(),
            }),
            Numbers::TopUsers(items) => Self::TopUsers(TopUsersAnswer {
                frame,
                items: items.iter().map(|item| top_user(item, names)).collect(),
            }),
            Numbers::TopConversations(items) => Self::TopConversations(TopConversationsAnswer {
                frame,
                items: items.iter().map(|item| top_conversation(item, names)).collect(),
            }),
            Numbers::Heatmap(cells) => Self::Heatmap(HeatmapAnswer {
                frame,
                cells: cells.clone(),
                total: cells.iter().flatten().sum(),
            }),
            Numbers::Usage {
                messages,
                conversations,
                values,
            } => Self::Usage(UsageAnswer {
                frame,
                messages: *messages,
                conversations: *conversations,
                points: buckets
                    .iter()
                    .zip(values)
                    .map(|(bucket, messages)| UsagePoint {
                        at: at(bucket),
                        messages: *messages,
                    })
                    .collect(),
            }),
        }
    }
}

fn named_series(series: &Series, names: &Names) -> SeriesAnswer {
    let (key, label) = match series.key {
        SeriesKey::All => ("all".to_owned(), None),
        SeriesKey::Other => ("other".to_owned(), None),
        SeriesKey::Kind(kind) => (kind.to_string(), Some(kind.to_string())),
        SeriesKey::User(id) => (id.to_string(), names.users.get(&id).map(|(name, _)| name.clone())),
        SeriesKey::Conversation(id) => (id.to_string(), names.titles.get(&id).cloned()),
    };
    SeriesAnswer {
        key,
        label,
        values: series.values.clone(),
        total: series.total,
    }
}

fn active_point(at: String, counts: &ActiveCounts) -> ActivePoint {
    let ActiveCounts {
        active,
        new,
        weekly,
        monthly,
    } = *counts;
    #[allow(clippy::cast_precision_loss, reason = "people of a workspace are fewer than 2^53")]
    let stickiness = (monthly > 0).then(|| active as f64 / monthly as f64);
    ActivePoint {
        at,
        active,
        new,
        returning: active.saturating_sub(new),
        weekly,
        monthly,
        stickiness,
    }
}

fn top_user(item: &UserTotals, names: &Names) -> TopUser {
    let known = names.users.get(&item.user);
    TopUser {
        user: NamedUser {
            id: item.user,
            name: known.map(|(name, _)| name.clone()),
            kind: known.map_or(UserKind::Person, |(_, kind)| *kind),
        },
        messages: item.messages,
        conversations: item.conversations,
        active_days: item.active_days,
        last_message_at: format_utc(item.last_at),
    }
}

fn top_conversation(item: &ConversationTotals, names: &Names) -> TopConversation {
    TopConversation {
        conversation: TitledConversation {
            id: item.conversation,
            title: names.titles.get(&item.conversation).cloned(),
        },
        messages: item.messages,
        participants: item.participants,
        last_message_at: format_utc(item.last_at),
    }
}
