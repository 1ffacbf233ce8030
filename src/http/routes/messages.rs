//! Messages over REST: pages of the history, and the same changes as on the socket, the same way
//! through the actor.

use crate::conversations::{HistoryRange, Request};
use crate::error::Code;
use crate::http::request::caller::Caller;
use crate::http::request::cursor;
use crate::http::request::json_body::JsonBody;
use crate::http::request::page::page_limit;
use crate::http::request::params::{PathParams, QueryString};
use crate::http::response::error::Error;
use crate::http::state::AppState;
use crate::ids::{ConversationId, MessageId, Rev, Seq};
use crate::wire::frames::{Ack, Message};
use crate::wire::{validate_body, validate_if_rev};
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A page of the history.
#[derive(Serialize, ToSchema)]
pub(crate) struct MessagePage {
    /// The messages, ascending.
    items: Vec<Message>,
    /// The `cursor` of the next page in the same direction, if there is one.
    next: Option<String>,
    /// The conversation's revision at this moment: a socket can subscribe with it as `after`.
    rev: Rev,
}

/// Which part of the history: one of the four, or none for the newest.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct HistoryQuery {
    /// 1–100, default 50.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<i64>,
    /// The messages before this number, without it.
    before: Option<i64>,
    /// The messages after this number, without it.
    after: Option<i64>,
    /// This number and both sides of it.
    around: Option<i64>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// A message to post.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MessageInput {
    /// Made by the client, unique for ever; repeating a post with the same id is safe.
    id: MessageId,
    /// 1–16,384 bytes, not only white space, no NUL.
    #[schema(min_length = 1, max_length = 16_384)]
    body: String,
    /// The message that it replies to.
    reply_to: Option<MessageId>,
}

/// What changes about a message.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MessagePatch {
    /// The new body.
    #[schema(min_length = 1, max_length = 16_384)]
    body: String,
    /// The message's `rev` that the user saw. If it was edited or deleted since, `conflict`.
    #[schema(minimum = 1)]
    if_rev: Option<Rev>,
}

/// On which condition a message is deleted.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeleteQuery {
    /// The message's `rev` that the user saw. If it was edited or deleted since, `conflict`.
    #[param(minimum = 1)]
    if_rev: Option<Rev>,
}

/// The range that a query asks for.
fn range_of(query: &HistoryQuery) -> Result<HistoryRange, Error> {
    let given =
        [query.before, query.after, query.around].iter().flatten().count() + usize::from(query.cursor.is_some());
    if given > 1 {
        return Err(Error::field(
            "cursor",
            "Only one of `before`, `after`, `around` and `cursor`.",
        ));
    }
    for (field, value) in [
        ("before", query.before),
        ("after", query.after),
        ("around", query.around),
    ] {
        if value.is_some_and(|seq| seq < 0) {
            return Err(Error::field(field, "Not negative."));
        }
    }
    if let Some(cursor) = &query.cursor {
        let (direction, seq) = cursor.split_once('.').ok_or_else(cursor::wrong)?;
        let seq = Seq(seq.parse().map_err(|_| cursor::wrong())?);
        return match direction {
            "before" => Ok(HistoryRange::Before(seq)),
            "after" => Ok(HistoryRange::After(seq)),
            _ => Err(cursor::wrong()),
        };
    }
    Ok(match (query.after, query.around) {
        (Some(seq), _) => HistoryRange::After(Seq(seq)),
        (_, Some(seq)) => HistoryRange::Around(Seq(seq)),
        _ => HistoryRange::Before(Seq(query.before.unwrap_or(i64::MAX))),
    })
}

fn check_body(body: &str) -> Result<(), Error> {
    validate_body(body).map_err(|invalid| match invalid.code {
        Code::BadRequest => Error::field("body", invalid.message),
        code => Error::with_detail(code, invalid.message),
    })
}

fn check_if_rev(if_rev: Option<Rev>) -> Result<(), Error> {
    validate_if_rev(if_rev).map_err(|invalid| Error::field("if_rev", invalid.message))
}

/// A page of the history: the newest, or before, after or around a number; ascending.
#[utoipa::path(get, path = "/api/conversations/{id}/messages", tag = "messages",
    params(("id" = ConversationId, Path, description = "The conversation"), HistoryQuery),
    responses((status = 200, body = MessagePage)))]
pub(crate) async fn list(
    state: web::Data<AppState>,
    caller: Caller,
    id: PathParams<ConversationId>,
    query: QueryString<HistoryQuery>,
) -> Result<HttpResponse, Error> {
    let limit = page_limit(query.0.limit)?;
    let range = range_of(&query.0)?;
    let history = state.conversations.history(caller.access(), id.0, range, limit).await?;
    let next = match range {
        HistoryRange::Before(_) if history.more => history.items.first().map(|first| format!("before.{}", first.seq)),
        HistoryRange::After(_) if history.more => history.items.last().map(|last| format!("after.{}", last.seq)),
        _ => None,
    };
    Ok(HttpResponse::Ok().json(MessagePage {
        items: history.items,
        next,
        rev: history.rev,
    }))
}

/// Post a message; the response comes once it is durable. 200 when this id had been posted before.
#[utoipa::path(post, path = "/api/conversations/{id}/messages", tag = "messages",
    params(("id" = ConversationId, Path, description = "The conversation")),
    request_body = MessageInput, responses((status = 201, body = Ack), (status = 200, body = Ack)))]
pub(crate) async fn create(
    state: web::Data<AppState>,
    caller: Caller,
    conversation: PathParams<ConversationId>,
    input: JsonBody<MessageInput>,
) -> Result<HttpResponse, Error> {
    let MessageInput { id, body, reply_to } = input.0;
    check_body(&body)?;
    let request = Request::Post {
        id,
        body: body.into(),
        reply_to,
    };
    let receipt = state
        .conversations
        .change(caller.access(), conversation.0, request)
        .await?;
    let (Some(seq), Some(created_at)) = (receipt.seq, receipt.created_at) else {
        return Err(Error::from_feature(
            Code::Internal,
            "a post's receipt has no number".to_owned(),
        ));
    };
    let (rev, duplicate) = (receipt.rev, receipt.duplicate);
    let ack = Ack {
        reference: None,
        conversation: conversation.0,
        id,
        seq,
        rev,
        created_at,
        duplicate,
        budget: None,
    };
    let mut response = if duplicate {
        HttpResponse::Ok()
    } else {
        HttpResponse::Created()
    };
    Ok(response.json(ack))
}

/// Change the body of an own message.
#[utoipa::path(patch, path = "/api/conversations/{id}/messages/{message_id}", tag = "messages",
    params(("id" = ConversationId, Path, description = "The conversation"),
           ("message_id" = MessageId, Path, description = "The message")),
    request_body = MessagePatch, responses((status = 200, body = Message)))]
pub(crate) async fn update(
    state: web::Data<AppState>,
    caller: Caller,
    path: PathParams<(ConversationId, MessageId)>,
    input: JsonBody<MessagePatch>,
) -> Result<HttpResponse, Error> {
    let (conversation, id) = path.0;
    let MessagePatch { body, if_rev } = input.0;
    check_body(&body)?;
    check_if_rev(if_rev)?;
    let request = Request::Edit {
        id,
        body: body.into(),
        if_rev,
    };
    state
        .conversations
        .change(caller.access(), conversation, request)
        .await?;
    Ok(HttpResponse::Ok().json(state.conversations.message(caller.access(), conversation, id).await?))
}

/// Delete a message: its author, moderators and owners may; the body is gone for good.
#[utoipa::path(delete, path = "/api/conversations/{id}/messages/{message_id}", tag = "messages",
    params(("id" = ConversationId, Path, description = "The conversation"),
           ("message_id" = MessageId, Path, description = "The message"), DeleteQuery), responses((status = 204)))]
pub(crate) async fn delete(
    state: web::Data<AppState>,
    caller: Caller,
    path: PathParams<(ConversationId, MessageId)>,
    query: QueryString<DeleteQuery>,
) -> Result<HttpResponse, Error> {
    let (conversation, id) = path.0;
    let if_rev = query.0.if_rev;
    check_if_rev(if_rev)?;
    state
        .conversations
        .change(caller.access(), conversation, Request::Delete { id, if_rev })
        .await?;
    Ok(HttpResponse::NoContent().finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query() -> HistoryQuery {
        HistoryQuery {
            limit: None,
            before: None,
            after: None,
            around: None,
            cursor: None,
        }
    }

    #[test]
    fn a_query_asks_for_one_range() {
        let cursor = |text: &str| HistoryQuery {
            cursor: Some(text.to_owned()),
            ..query()
        };
        assert_eq!(range_of(&query()).unwrap(), HistoryRange::Before(Seq(i64::MAX)));
        assert_eq!(
            range_of(&HistoryQuery {
                before: Some(7),
                ..query()
            })
            .unwrap(),
            HistoryRange::Before(Seq(7))
        );
        assert_eq!(
            range_of(&HistoryQuery {
                after: Some(0),
                ..query()
            })
            .unwrap(),
            HistoryRange::After(Seq(0))
        );
        assert_eq!(
            range_of(&HistoryQuery {
                around: Some(7),
                ..query()
            })
            .unwrap(),
            HistoryRange::Around(Seq(7))
        );
        assert_eq!(range_of(&cursor("before.7")).unwrap(), HistoryRange::Before(Seq(7)));
        assert_eq!(range_of(&cursor("after.7")).unwrap(), HistoryRange::After(Seq(7)));
        let both = HistoryQuery {
            before: Some(1),
            after: Some(1),
            ..query()
        };
        for wrong in [
            both,
            HistoryQuery {
                after: Some(-1),
                ..query()
            },
            cursor("x"),
            cursor("around.1"),
            cursor("after.x"),
        ] {
            assert_eq!(range_of(&wrong).unwrap_err().code(), Code::BadRequest);
        }
    }
}
