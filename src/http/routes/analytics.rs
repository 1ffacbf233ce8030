//! Analytics over REST: numbers about the workspace for its admins, and one's own for everybody.
//!
//! Who may ask is looked at before what is asked. Answers about a time that is over have a tag and
//! may be kept for a minute.

use super::analytics_answers::{
    ActiveUsersAnswer, Answer, HeatmapAnswer, MessagesAnswer, SummaryAnswer, TopConversationsAnswer, TopUsersAnswer,
    UsageAnswer,
};
use crate::analytics::{Asked, ConversationOrder, Granularity, GroupBy, Period, Question, WrongParameter};
use crate::auth::Action;
use crate::error::Code;
use crate::http::request::caller::Caller;
use crate::http::request::params::QueryString;
use crate::http::response::error::Error;
use crate::http::response::prepared::is_cached;
use crate::http::state::AppState;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use chrono::Utc;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use utoipa::IntoParams;

/// Groups and items of an answer.
const LIMIT_MAX: i64 = 50;
const LIMIT_DEFAULT: i64 = 10;
/// How long a browser may keep an answer about a time that is over.
const CACHE_CONTROL: &str = "private, max-age=60";

/// The time a question is about.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RangeQuery {
    /// The beginning: an instant of RFC 3339, or a date, which is its first instant in `tz`. Default: 30 days before the
    /// day of `to`.
    pub(crate) from: Option<String>,
    /// The end, not included. Default: the next midnight.
    pub(crate) to: Option<String>,
    /// A name of the IANA time zones, as written there. Default: `UTC`.
    pub(crate) tz: Option<String>,
}

/// Messages over time.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct MessagesQuery {
    /// As for `summary`.
    from: Option<String>,
    /// As for `summary`.
    to: Option<String>,
    /// As for `summary`.
    tz: Option<String>,
    /// How long a bucket is; default `day`.
    #[param(inline)]
    granularity: Option<Granularity>,
    /// What has a series of its own; default `none`.
    #[param(inline)]
    group_by: Option<GroupBy>,
    /// Most groups, 1–50, default 10; the rest is one more.
    #[param(minimum = 1, maximum = 50)]
    limit: Option<i64>,
}

/// The time, and how long a bucket is.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct GranularityQuery {
    /// As for `summary`.
    from: Option<String>,
    /// As for `summary`.
    to: Option<String>,
    /// As for `summary`.
    tz: Option<String>,
    /// How long a bucket is; default `day`. No `hour` for active users.
    #[param(inline)]
    granularity: Option<Granularity>,
}

/// The time, and how many.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TopUsersQuery {
    /// As for `summary`.
    from: Option<String>,
    /// As for `summary`.
    to: Option<String>,
    /// As for `summary`.
    tz: Option<String>,
    /// Most items, 1–50, default 10.
    #[param(minimum = 1, maximum = 50)]
    limit: Option<i64>,
}

/// The time, in which order, and how many.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TopConversationsQuery {
    /// As for `summary`.
    from: Option<String>,
    /// As for `summary`.
    to: Option<String>,
    /// As for `summary`.
    tz: Option<String>,
    /// What comes first: most messages, most people who posted, or the last message; default `messages`.
    #[param(inline)]
    sort: Option<ConversationOrder>,
    /// Most items, 1–50, default 10.
    #[param(minimum = 1, maximum = 50)]
    limit: Option<i64>,
}

/// Refuses who may not see the workspace's numbers.
///
/// # Errors
/// `forbidden`.
pub(crate) fn admit(caller: &Caller) -> Result<(), Error> {
    if caller.allows(Action::ReadAnalytics) {
        return Ok(());
    }
    let detail = "Numbers of the workspace are for its owners and admins, and for their keys with `analytics:read`.";
    Err(Error::with_detail(Code::Forbidden, detail))
}

/// The parameters of a request.
///
/// # Errors
/// `bad_request`.
pub(crate) async fn parameters<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, Error> {
    Ok(QueryString::<T>::extract(request).await?.0)
}

/// The time that a question is about.
///
/// # Errors
/// `bad_request`.
pub(crate) fn period(from: Option<&str>, to: Option<&str>, tz: Option<&str>) -> Result<Period, Error> {
    Period::parse(from, to, tz, Utc::now().timestamp_millis()).map_err(wrong)
}

/// What is wrong with a parameter, as a problem.
pub(crate) fn wrong(wrong: WrongParameter) -> Error {
    Error::wrong_parameter(wrong.field, wrong.message)
}

fn limit(limit: Option<i64>) -> Result<usize, Error> {
    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Error::field("limit", format!("1 to {LIMIT_MAX}.")));
    }
    Ok(usize::try_from(limit).unwrap_or(1))
}

/// Totals of a range and of the range before. For admins.
#[utoipa::path(get, path = "/api/analytics/summary", tag = "analytics", params(RangeQuery),
    responses((status = 200, body = SummaryAnswer), (status = 304)))]
pub(crate) async fn summary(
    request: HttpRequest,
    state: web::Data<AppState>,
    caller: Caller,
) -> Result<HttpResponse, Error> {
    admit(&caller)?;
    let RangeQuery { from, to, tz } = parameters(&request).await?;
    let period = period(from.as_deref(), to.as_deref(), tz.as_deref())?;
    answer(&request, &state, &caller, Question::Summary, period).await
}

/// Messages over time, together or in groups. For admins.
#[utoipa::path(get, path = "/api/analytics/messages", tag = "analytics", params(MessagesQuery),
    responses((status = 200, body = MessagesAnswer), (status = 304)))]
pub(crate) async fn messages(
    request: HttpRequest,
    state: web::Data<AppState>,
    caller: Caller,
) -> Result<HttpResponse, Error> {
    admit(&caller)?;
    let query: MessagesQuery = parameters(&request).await?;
    let question = Question::Messages {
        granularity: query.granularity.unwrap_or_default(),
        group_by: query.group_by.unwrap_or_default(),
        limit: limit(query.limit)?,
    };
    let period = period(query.from.as_deref(), query.to.as_deref(), query.tz.as_deref())?;
    answer(&request, &state, &caller, question, period).await
}

/// How many people posted, and how many of them were new. For admins.
#[utoipa::path(get, path = "/api/analytics/users/active", tag = "analytics", params(GranularityQuery),
    responses((status = 200, body = ActiveUsersAnswer), (status = 304)))]
pub(crate) async fn active_users(
    request: HttpRequest,
    state: web::Data<AppState>,
    caller: Caller,
) -> Result<HttpResponse, Error> {
    admit(&caller)?;
    let query: GranularityQuery = parameters(&request).await?;
    let granularity = query.granularity.unwrap_or_default();
    if granularity == Granularity::Hour {
        return Err(Error::field("granularity", "`day`, `week` or `month`."));
    }
    let period = period(query.from.as_deref(), query.to.as_deref(), query.tz.as_deref())?;
    answer(&request, &state, &caller, Question::ActiveUsers { granularity }, period).await
}

/// Who posted most. For admins.
#[utoipa::path(get, path = "/api/analytics/users/top", tag = "analytics", params(TopUsersQuery),
    responses((status = 200, body = TopUsersAnswer), (status = 304)))]
pub(crate) async fn top_users(
    request: HttpRequest,
    state: web::Data<AppState>,
    caller: Caller,
) -> Result<HttpResponse, Error> {
    admit(&caller)?;
    let query: TopUsersQuery = parameters(&request).await?;
    let limit = limit(query.limit)?;
    let period = period(query.from.as_deref(), query.to.as_deref(), query.tz.as_deref())?;
    answer(&request, &state, &caller, Question::TopUsers { limit }, period).await
}

/// Where most was posted. For admins.
#[utoipa::path(get, path = "/api/analytics/conversations/top", tag = "analytics", params(TopConversationsQuery),
    responses((status = 200, body = TopConversationsAnswer), (status = 304)))]
pub(crate) async fn top_conversations(
    request: HttpRequest,
    state: web::Data<AppState>,
    caller: Caller,
) -> Result<HttpResponse, Error> {
    admit(&caller)?;
    let query: TopConversationsQuery = parameters(&request).await?;
    let question = Question::TopConversations {
        order: query.sort.unwrap_or_default(),
        limit: limit(query.limit)?,
    };
    let period = period(query.from.as_deref(), query.to.as_deref(), query.tz.as_deref())?;
    answer(&request, &state, &caller, question, period).await
}

/// Messages by weekday and hour. For admins.
#[utoipa::path(get, path = "/api/analytics/heatmap", tag = "analytics", params(RangeQuery),
    responses((status = 200, body = HeatmapAnswer), (status = 304)))]
pub(crate) async fn heatmap(
    request: HttpRequest,
    state: web::Data<AppState>,
    caller: Caller,
) -> Result<HttpResponse, Error> {
    admit(&caller)?;
    let RangeQuery { from, to, tz } = parameters(&request).await?;
    let period = period(from.as_deref(), to.as_deref(), tz.as_deref())?;
    answer(&request, &state, &caller, Question::Heatmap, period).await
}

/// What the caller posted.
#[utoipa::path(get, path = "/api/me/usage", tag = "analytics", params(GranularityQuery),
    responses((status = 200, body = UsageAnswer), (status = 304)))]
pub(crate) async fn usage(
    request: HttpRequest,
    state: web::Data<AppState>,
    caller: Caller,
) -> Result<HttpResponse, Error> {
    let query: GranularityQuery = parameters(&request).await?;
    let question = Question::Usage {
        user: caller.user_id,
        granularity: query.granularity.unwrap_or_default(),
    };
    let period = period(query.from.as_deref(), query.to.as_deref(), query.tz.as_deref())?;
    answer(&request, &state, &caller, question, period).await
}

async fn answer(
    request: &HttpRequest,
    state: &AppState,
    caller: &Caller,
    question: Question,
    period: Period,
) -> Result<HttpResponse, Error> {
    let granularity = question.granularity();
    // Before it costs anything.
    let buckets = match granularity {
        Some(granularity) => period.buckets(granularity).map_err(wrong)?,
        None => Vec::new(),
    };
    let asked = Asked { question, period };
    let computed = state.analytics.answer(caller, &asked).await;
    let computed = computed.map_err(|error| Error::from(&*error))?;
    let names = state.analytics.names(caller, &computed.numbers).await?;
    let granularity = granularity.unwrap_or_default().as_str();
    let answer = Answer::new(&asked, &buckets, granularity, &computed, &names);
    if asked.period.to > computed.data_through {
        return Ok(HttpResponse::Ok().json(answer));
    }
    let etag = tag(&answer)?;
    let is_known = is_cached(request, &etag);
    let mut response = if is_known {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };
    response
        .insert_header((header::CACHE_CONTROL, CACHE_CONTROL))
        .insert_header((header::ETAG, etag));
    Ok(if is_known {
        response.finish()
    } else {
        response.json(answer)
    })
}

/// The tag of an answer: of all but when it was computed.
fn tag(answer: &Answer) -> Result<HeaderValue, Error> {
    let internal = |error: &dyn std::fmt::Display| Error::from_feature(Code::Internal, error.to_string());
    let mut value = serde_json::to_value(answer).map_err(|error| internal(&error))?;
    if let Some(fields) = value.as_object_mut() {
        fields.remove("generated_at");
        fields.remove("data_through");
    }
    let digest = Sha256::digest(value.to_string());
    let mut tag = "\"".to_owned();
    for byte in digest.iter().take(16) {
        // A string takes everything.
        write!(tag, "{byte:02x}").unwrap_or_default();
    }
    tag.push('"');
    HeaderValue::from_str(&tag).map_err(|error| internal(&error))
}
