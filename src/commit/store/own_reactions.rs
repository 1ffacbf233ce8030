//! Which reactions are a reader's own, where the lists of users do not tell.

use crate::database::{Client, Error, Statement};
use crate::ids::UserId;
use crate::wire::frames::Message;
use crate::wire::{OwnReactions, has_unlisted};

/// The own reactions of a reader of these messages. Asks nothing if their lists of users tell.
///
/// # Errors
/// [`Error`].
pub async fn own_reactions<'a>(
    client: &Client,
    user: UserId,
    messages: impl Iterator<Item = &'a Message> + Send,
) -> Result<OwnReactions, Error> {
    const SQL: Statement = Statement::new(
        "reactions.list_own",
        "SELECT asked.n FROM unnest($1::uuid[], $2::bigint[], $3::text[]) WITH ORDINALITY asked (conversation_id, seq, emoji, n)
         WHERE EXISTS (SELECT FROM reactions r WHERE r.conversation_id = asked.conversation_id AND r.seq = asked.seq
                         AND r.emoji = asked.emoji AND r.user_id = $4)",
    );
    let asked: Vec<_> = messages
        .filter(|message| has_unlisted(message))
        .flat_map(|message| message.reactions.iter().map(move |reaction| (message, reaction)))
        .collect();
    if asked.is_empty() {
        return Ok(OwnReactions::listed(user));
    }
    let conversations: Vec<_> = asked.iter().map(|(message, _)| message.conversation.0).collect();
    let seqs: Vec<_> = asked.iter().map(|(message, _)| message.seq.0).collect();
    let emojis: Vec<_> = asked.iter().map(|(_, reaction)| &*reaction.emoji).collect();
    let rows = client.query(&SQL, &[&conversations, &seqs, &emojis, &user.0]).await?;
    let own = rows.iter().filter_map(|row| {
        let n = usize::try_from(row.get::<_, i64>(0)).ok()?.checked_sub(1)?;
        asked
            .get(n)
            .map(|(message, reaction)| (message.id, reaction.emoji.clone()))
    });
    Ok(OwnReactions::asked(user, own))
}

/// Says in each message which reactions are the reader's own.
///
/// # Errors
/// [`Error`].
pub async fn mark_own<'a>(
    client: &Client,
    user: UserId,
    messages: impl Iterator<Item = &'a mut Message> + Send,
) -> Result<(), Error> {
    let messages: Vec<_> = messages.collect();
    let own = own_reactions(client, user, messages.iter().map(|message| &**message)).await?;
    for message in messages {
        message.mine = own.of(message);
    }
    Ok(())
}
