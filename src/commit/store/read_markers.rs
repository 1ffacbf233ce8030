//! Read markers, as many as there are in one statement.

use crate::database::{Client, Error, Statement};
use uuid::Uuid;

/// Moves read markers forward; at most one row per member.
pub(in crate::commit) async fn move_read_markers(
    db: &Client,
    conversation_ids: &[Uuid],
    user_ids: &[Uuid],
    seqs: &[i64],
) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "conversation_members.move_read_markers",
        "UPDATE conversation_members m SET read_seq = i.seq
         FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS i (conversation_id, user_id, seq)
         WHERE m.conversation_id = i.conversation_id AND m.user_id = i.user_id AND m.read_seq < i.seq",
    );
    db.execute(&SQL, &[&conversation_ids, &user_ids, &seqs]).await.map(drop)
}
