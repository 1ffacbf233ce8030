//! What is in the database at the end.

use super::history::{Message, Row, Truth};
use crate::support::db;
use parlance::ids::{ConversationId, MessageId, UserId};
use std::collections::{BTreeMap, BTreeSet};

/// Reads all conversations, in the order of their numbers.
pub async fn read(url: &str, rooms: &[ConversationId]) -> Vec<Truth> {
    let client = db::connect(url).await;
    let mut truths = Vec::new();
    for room in rooms {
        let sql = "SELECT rev, last_seq FROM conversations WHERE id = $1";
        let row = client.query_one(sql, &[&room.0]).await.unwrap();
        let (rev, last_seq) = (row.get(0), row.get(1));
        let mut reacted: BTreeMap<i64, BTreeSet<(String, UserId)>> = BTreeMap::new();
        let sql = "SELECT seq, emoji, user_id FROM reactions WHERE conversation_id = $1";
        for row in client.query(sql, &[&room.0]).await.unwrap() {
            let one = (row.get(1), UserId(row.get(2)));
            reacted.entry(row.get(0)).or_default().insert(one);
        }
        let sql = "SELECT id, seq, author_id, body, edited_at IS NOT NULL, deleted_at IS NOT NULL, rev, posted_rev \
                   FROM messages WHERE conversation_id = $1 ORDER BY seq";
        let rows = client.query(sql, &[&room.0]).await.unwrap();
        let rows = rows.iter().map(|row| {
            let seq: i64 = row.get(1);
            let reacted = reacted.remove(&seq).unwrap_or_default();
            let mut reactions = BTreeMap::new();
            for (emoji, _) in &reacted {
                *reactions.entry(emoji.clone()).or_default() += 1;
            }
            Row {
                message: Message {
                    id: MessageId(row.get(0)),
                    seq,
                    author: UserId(row.get(2)),
                    body: row.get(3),
                    edited: row.get(4),
                    deleted: row.get(5),
                    reactions,
                },
                rev: row.get(6),
                posted: row.get(7),
                reacted,
            }
        });
        let rows = rows.collect();
        truths.push(Truth { rev, last_seq, rows });
    }
    truths
}
