//! Adding people, and how many one user may add a day.
//!
//! Used by REST; the socket adds nobody. What a conversation begins with is counted where it is made
//! (`store.rs`). It is counted before the conversation is asked, in one row a user that changes only
//! within the bound: so many at once do not get past it, and no writer lane waits for another. Who is
//! a member already, and what the caller has no right to, costs nothing. What else the conversation
//! refuses is counted all the same.
//!
//! Bound: [`ADDITIONS_PER_DAY`]. Beyond it `limit_reached`, until the next day (UTC).
//!
//! [`ADDITIONS_PER_DAY`]: super::ADDITIONS_PER_DAY

use super::error::Error;
use super::handle::ConversationsHandle;
use super::store::{self, Additions};
use crate::auth::Access;
use crate::commit::Request;
use crate::ids::{ConversationId, MemberRole, UserId};

impl ConversationsHandle {
    /// Adds a member.
    ///
    /// # Errors
    /// `limit_reached` beyond the additions of a day; what the rules, the present state or the
    /// database say.
    pub async fn add_member(
        &self,
        access: Access,
        id: ConversationId,
        user_id: UserId,
        role: Option<MemberRole>,
    ) -> Result<(), Error> {
        let mut client = self.context.database.client().await?;
        let tx = client.transaction().await?;
        let charged = store::charge_additions(&tx, access.tenant_id, access.user_id, Some(id), &[user_id]).await?;
        tx.commit().await?;
        drop(client);
        if charged == Additions::Beyond {
            return Err(Error::ADDITIONS);
        }
        self.change(access, id, Request::AddMember { user_id, role }).await?;
        Ok(())
    }
}
