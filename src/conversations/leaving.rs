//! Leaving many conversations with one request.
//!
//! Whoever was put into many rooms gets out of them without being stopped by a quota. The
//! operations go to the writer lanes at once: the rules are judged there, and no conversation has to
//! be started for it. Where one is active on this node, its actor tells everybody; where not, the
//! caller's own devices are told here.
//!
//! Bound: [`LEAVES_MAX`] conversations a request.

use super::error::Error;
use super::handle::ConversationsHandle;
use super::permissions;
use super::store::{self, Membership};
use crate::auth::Access;
use crate::commit::{Completion, DEADLINE, Operation, Receipt, Request};
use crate::error::Code;
use crate::ids::ConversationId;
use crate::wire::frames::Notice;
use std::time::Instant;
use tokio::sync::oneshot;

/// Conversations that are left with one request.
pub const LEAVES_MAX: usize = 100;

/// Whether others may add the one who leaves again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// As before.
    Allowed,
    /// Only by an invitation that they follow themselves.
    Declined,
}

/// What became of one conversation that was to be left.
#[derive(Debug)]
pub struct Left {
    pub conversation: ConversationId,
    pub result: Result<(), Error>,
}

impl ConversationsHandle {
    /// Leaves conversations, each by itself: what one refuses does not concern the others. In the
    /// order in which they are given.
    ///
    /// # Errors
    /// [`Error::Database`] before anything was done. Of each: `not_found` unless the caller is a
    /// member, `conflict` for the last owner.
    pub async fn leave(&self, access: Access, ids: &[ConversationId], way_back: Return) -> Result<Vec<Left>, Error> {
        let client = self.context.database.client().await?;
        let mut memberships = store::list_memberships_among(&client, access.tenant_id, access.user_id, ids).await?;
        memberships.retain(|membership| access.allows(membership.id));
        if way_back == Return::Declined {
            // Before they leave, so that nobody is quicker.
            let known: Vec<_> = memberships.iter().map(|membership| membership.id).collect();
            store::decline(&client, access.tenant_id, access.user_id, &known).await?;
        }
        drop(client);
        let leaving = ids.iter().map(|id| {
            let membership = memberships.iter().find(|membership| membership.id == *id);
            async move {
                let result = match membership {
                    Some(membership) => self.leave_one(access, membership).await,
                    None => Err(Error::Refused(Code::NotFound, Code::NotFound.text())),
                };
                Left {
                    conversation: *id,
                    result,
                }
            }
        });
        Ok(futures_util::future::join_all(leaving).await)
    }

    async fn leave_one(&self, access: Access, membership: &Membership) -> Result<(), Error> {
        let request = Request::RemoveMember {
            user_id: access.user_id,
        };
        let (respond_to, response) = oneshot::channel();
        self.context.commits.submit(Operation {
            tenant_id: access.tenant_id,
            conversation_id: membership.id,
            actor_id: access.user_id,
            actor_kind: access.kind,
            requirement: permissions::requirement(access.user_id, &request),
            request,
            deadline: Instant::now() + DEADLINE,
            done: Completion::new(move |result| {
                // The caller may have gone; the change is durable all the same.
                drop(respond_to.send(result));
            }),
        });
        let receipt = response.await.map_err(|_dropped| crate::commit::Error::Unavailable)??;
        if self.context.slots.find(membership.id).is_none() {
            self.context.notify_left(farewell(membership, receipt), access.user_id);
        }
        Ok(())
    }
}

/// What the devices of the one who left are told: nothing of what the conversation holds.
fn farewell(membership: &Membership, receipt: Receipt) -> Notice {
    Notice {
        conversation: membership.id,
        rev: receipt.rev,
        title: membership.title.as_str().into(),
        last_seq: membership.last_seq,
        last_message: None,
        last_message_at: None,
        removed: true,
        unread: 0,
    }
}
