//! Exports of a workspace's messages and counts, for its admins: streamed, in constant memory.
//!
//! The limits of an export stand in its row in `access.rs`: its rows, and the time after which it
//! ends with a cursor. A client that takes nothing is cut like any other
//! (`server/deadlines.rs`).

use super::access;
use super::analytics::{admit, parameters, period};
use crate::analytics::{ExportCursor, ExportFormat, ExportKind, ExportRequest};
use crate::http::request::caller::Caller;
use crate::http::request::cursor;
use crate::http::request::payer::Expensive;
use crate::http::response::error::Error;
use crate::http::state::AppState;
use actix_web::http::header;
use actix_web::{FromRequest as _, HttpRequest, HttpResponse, web};
use serde::Deserialize;
use std::time::Instant;
use utoipa::{IntoParams, ToSchema};

/// Rows unless asked otherwise.
const ROWS_DEFAULT: u64 = 100_000;

/// What is exported.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExportKindQuery {
    /// A row a message, without its body.
    #[default]
    Messages,
    /// A row for an hour, a conversation, a user and a kind.
    Counts,
}

/// How rows are written.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExportFormatQuery {
    /// A JSON object a line.
    #[default]
    Ndjson,
    /// Values with commas between, the names of the columns first.
    Csv,
}

/// The time, what is exported, and how much.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExportQuery {
    /// As for `summary`.
    from: Option<String>,
    /// As for `summary`.
    to: Option<String>,
    /// As for `summary`.
    tz: Option<String>,
    /// Default `messages`.
    #[param(inline)]
    kind: Option<ExportKindQuery>,
    /// Default `ndjson`.
    #[param(inline)]
    format: Option<ExportFormatQuery>,
    /// Rows, 1–1,000,000, default 100,000.
    #[param(minimum = 1, maximum = 1_000_000)]
    limit: Option<u64>,
    /// `next` of the last line of the export before, with the same parameters otherwise.
    cursor: Option<String>,
}

/// Messages or counts of a range, oldest first, a line each; the last line says where the next export goes on: as JSON
/// `{"next": cursor or null}`, in CSV `# next: …`. For admins. Expensive: 10 a minute besides the quota.
#[utoipa::path(get, path = "/api/analytics/export", tag = "analytics", params(ExportQuery),
    responses((status = 200, description = "The lines, streamed", content(
        (String = "application/x-ndjson"), (String = "text/csv")))))]
pub(crate) async fn export(
    request: HttpRequest,
    state: web::Data<AppState>,
    caller: Caller,
) -> Result<HttpResponse, Error> {
    admit(&caller)?;
    let query: ExportQuery = parameters(&request).await?;
    let period = period(query.from.as_deref(), query.to.as_deref(), query.tz.as_deref())?;
    let kind = match query.kind.unwrap_or_default() {
        ExportKindQuery::Messages => ExportKind::Messages,
        ExportKindQuery::Counts => ExportKind::Counts,
    };
    let (format, media_type) = match query.format.unwrap_or_default() {
        ExportFormatQuery::Ndjson => (ExportFormat::Ndjson, "application/x-ndjson"),
        ExportFormatQuery::Csv => (ExportFormat::Csv, "text/csv; charset=utf-8"),
    };
    let limits = access::EXPORT;
    let limit = query.limit.unwrap_or(ROWS_DEFAULT);
    if !(1..=limits.rows_max).contains(&limit) {
        return Err(Error::field("limit", format!("1 to {}.", limits.rows_max)));
    }
    let parse = |text| ExportCursor::parse(kind, text).ok_or_else(cursor::wrong);
    let cursor = query.cursor.as_deref().map(parse).transpose()?;
    // Only what will be done is counted.
    Expensive::extract(&request).await?;
    let lines = state.exports.begin(ExportRequest {
        tenant: caller.tenant_id,
        user: caller.user_id,
        period,
        kind,
        format,
        limit,
        cursor,
        ends_at: Instant::now() + limits.time_max,
    });
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, media_type))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .streaming(lines.await?))
}
