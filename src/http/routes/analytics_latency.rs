//! What messages and deliveries took, for admins of a workspace.

use super::analytics::{admit, parameters, period, wrong};
use super::analytics_answers::AnswerFrame;
use crate::analytics::{Granularity, LatencyAnswer, Period, format_in};
use crate::http::request::caller::Caller;
use crate::http::response::error::Error;
use crate::http::state::AppState;
use crate::latency::LatencyKind;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// What is waited for.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LatencyOf {
    /// From the acceptance of a message to its commit.
    #[default]
    Append,
    /// From the commit of a message to its hand-over, once for each reader.
    Deliver,
    /// From a question's commit to the first text of its answer.
    Ttft,
}

impl From<LatencyOf> for LatencyKind {
    fn from(of: LatencyOf) -> Self {
        match of {
            LatencyOf::Append => Self::Append,
            LatencyOf::Deliver => Self::Deliver,
            LatencyOf::Ttft => Self::Ttft,
        }
    }
}

/// The time, what is waited for, and how long a bucket is.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LatencyQuery {
    /// As for `summary`.
    from: Option<String>,
    /// As for `summary`.
    to: Option<String>,
    /// As for `summary`.
    tz: Option<String>,
    /// What is waited for; default `append`.
    #[param(inline)]
    of: Option<LatencyOf>,
    /// How long a bucket is; default `day`.
    #[param(inline)]
    granularity: Option<Granularity>,
}

/// Latencies over time.
#[derive(Serialize, ToSchema)]
pub(crate) struct LatencyResponse {
    #[serde(flatten)]
    frame: AnswerFrame,
    /// A point for each bucket.
    points: Vec<LatencyPointResponse>,
}

/// A bucket. Percentiles are right to two in a hundred; null where nothing was counted.
#[derive(Serialize, ToSchema)]
pub(crate) struct LatencyPointResponse {
    /// When it begins in the calendar.
    at: String,
    /// Messages, or messages times readers.
    count: u64,
    p50_ms: Option<f64>,
    p95_ms: Option<f64>,
    p99_ms: Option<f64>,
    max_ms: Option<f64>,
}

impl LatencyResponse {
    fn new(period: &Period, answer: &LatencyAnswer) -> Self {
        let points = answer.points.iter().map(|point| LatencyPointResponse {
            at: format_in(&period.zone, point.at),
            count: point.count,
            p50_ms: point.percentiles.map(|of| of.p50_ms),
            p95_ms: point.percentiles.map(|of| of.p95_ms),
            p99_ms: point.percentiles.map(|of| of.p99_ms),
            max_ms: point.percentiles.map(|of| of.max_ms),
        });
        Self {
            frame: AnswerFrame::of(period, answer.generated_at, answer.data_through),
            points: points.collect(),
        }
    }
}

/// What messages and deliveries took, over all nodes; up to a minute behind. For admins.
#[utoipa::path(get, path = "/api/analytics/latency", tag = "analytics", params(LatencyQuery),
    responses((status = 200, body = LatencyResponse)))]
pub(crate) async fn latency(
    request: HttpRequest,
    state: web::Data<AppState>,
    caller: Caller,
) -> Result<HttpResponse, Error> {
    admit(&caller)?;
    let query: LatencyQuery = parameters(&request).await?;
    let period = period(query.from.as_deref(), query.to.as_deref(), query.tz.as_deref())?;
    let buckets = period.buckets(query.granularity.unwrap_or_default()).map_err(wrong)?;
    let kind = query.of.unwrap_or_default().into();
    let answer = state.latencies.answer(&caller, kind, &period, &buckets).await?;
    Ok(HttpResponse::Ok().json(LatencyResponse::new(&period, &answer)))
}
