//! Search over REST.

use crate::http::request::caller::Caller;
use crate::http::request::cursor;
use crate::http::request::page::page_limit;
use crate::http::request::params::QueryString;
use crate::http::request::payer::Expensive;
use crate::http::response::error::Error;
use crate::http::state::AppState;
use crate::ids::{ConversationId, UserId};
use crate::search::{FoundMessage, QUERY_BYTES_MAX, SearchCursor, SearchRequest};
use crate::wire::frames::Timestamp;
use actix_web::{HttpResponse, web};
use chrono::DateTime;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// What is searched for, and which page.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SearchQuery {
    /// 1–256 bytes: words that all have to be there, in any order and case; `"these words"` together; `or` between
    /// alternatives; `-without`. What asks for no word at all finds nothing.
    #[param(min_length = 1, max_length = 256)]
    q: String,
    /// Only in this conversation.
    conversation: Option<ConversationId>,
    /// Only messages of this user.
    author: Option<UserId>,
    /// Only messages from before this moment, RFC 3339.
    #[param(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    before: Option<String>,
    /// Only messages from after this moment, RFC 3339.
    #[param(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    after: Option<String>,
    /// 1–100, default 50.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<i64>,
    /// `next` of the page before, with the same parameters otherwise.
    cursor: Option<String>,
}

/// A page of what was found.
#[derive(Serialize, ToSchema)]
pub(crate) struct SearchPage {
    /// The messages, youngest first; there may be fewer than `limit` although there is a next page.
    items: Vec<FoundMessage>,
    /// The `cursor` of the next page, if there is one.
    next: Option<String>,
    /// Whether all was searched that belongs on this page. False where that would have taken too long: then there may be
    /// more in old messages, which `conversation`, `before` or `after` bring into reach.
    complete: bool,
}

fn parse(query: SearchQuery) -> Result<SearchRequest, Error> {
    if !(1..=QUERY_BYTES_MAX).contains(&query.q.len()) {
        return Err(Error::field("q", format!("1 to {QUERY_BYTES_MAX} bytes.")));
    }
    let limit = page_limit(query.limit)?;
    let before = moment("before", query.before.as_deref())?;
    let after = moment("after", query.after.as_deref())?;
    let from = query.cursor.as_deref().map(cursor::parse).transpose()?;
    Ok(SearchRequest {
        words: query.q,
        conversation: query.conversation,
        author: query.author,
        before,
        after,
        from: from.map(|(created_at, id)| SearchCursor { created_at, id }),
        limit: usize::try_from(limit).unwrap_or(1),
    })
}

fn moment(field: &'static str, text: Option<&str>) -> Result<Option<Timestamp>, Error> {
    let parse = |text| DateTime::parse_from_rfc3339(text).map(|at| at.to_utc());
    let wrong = |_| Error::field(field, "Not a moment of RFC 3339, like 2026-11-22T10:00:00Z.");
    text.map(parse).transpose().map_err(wrong)
}

/// Messages with some words in the caller's conversations, youngest first. Expensive: 10 a minute besides the quota.
#[utoipa::path(get, path = "/api/search", tag = "messages", params(SearchQuery),
    responses((status = 200, body = SearchPage)))]
pub(crate) async fn search(
    state: web::Data<AppState>,
    caller: Caller,
    _: Expensive,
    query: QueryString<SearchQuery>,
) -> Result<HttpResponse, Error> {
    let wanted = parse(query.0)?;
    let page = state.search.find(caller.access(), &wanted).await?;
    Ok(HttpResponse::Ok().json(SearchPage {
        items: page.items,
        next: page.next.map(|next| cursor::after(next.created_at, next.id)),
        complete: page.complete,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(q: &str) -> SearchQuery {
        SearchQuery {
            q: q.to_owned(),
            conversation: None,
            author: None,
            before: None,
            after: None,
            limit: None,
            cursor: None,
        }
    }

    #[test]
    fn a_wrong_parameter_is_named() {
        let moment = |before: &str| SearchQuery {
            before: Some(before.to_owned()),
            ..query("x")
        };
        assert!(parse(moment("2026-11-22T10:00:00.5+01:00")).is_ok());
        for (wrong, field) in [
            (query(""), "q"),
            (query(&"é".repeat(129)), "q"),
            (moment("yesterday"), "before"),
            (moment("2026-11-22"), "before"),
            // A plus that was not escaped is a blank.
            (moment("2026-11-22T10:00:00 01:00"), "before"),
            (
                SearchQuery {
                    cursor: Some("x".to_owned()),
                    ..query("x")
                },
                "cursor",
            ),
        ] {
            let error = parse(wrong).map(|_| ()).unwrap_err();
            assert_eq!(error.fields().first().map(|error| &*error.field), Some(field));
        }
        assert!(parse(query(&"é".repeat(128))).is_ok());
    }
}
