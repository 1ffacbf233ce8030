//! Who may do what in a conversation: one table. The actor refuses early by it, and the requirement
//! goes with the operation to be judged under the lock. Pure.
//!
//! | | member | moderator | owner |
//! |---|---|---|---|
//! | read, post, react, edit and delete own messages, leave | yes | yes | yes |
//! | delete others' messages, add and remove members, invite, rename | | yes | yes |
//! | change roles, delete the conversation | | | yes |
//!
//! A tenant's admins manage people, not conversations: here they are members or nothing. What
//! depends on the present rows (the last owner stays, only an owner removes a moderator) is judged
//! in `commit/change.rs`.

use crate::commit::{Request, Requirement};
use crate::ids::{MemberAction, MemberRole, UserId};

/// What an actor must be for a request.
#[must_use]
pub(super) fn requirement(actor: UserId, request: &Request) -> Requirement {
    match request {
        Request::Post { .. } | Request::React { .. } => Requirement::Role(MemberRole::Member),
        Request::Edit { .. } => Requirement::Author,
        Request::Delete { .. } => Requirement::AuthorOrRole(MemberRole::Moderator),
        Request::RemoveMember { user_id } if *user_id == actor => Requirement::Role(MemberRole::Member),
        Request::AddMember { .. } | Request::RemoveMember { .. } | Request::Rename { .. } => INVITE,
        Request::ChangeMember { .. } | Request::DeleteConversation => Requirement::Role(MemberRole::Owner),
        Request::Join { .. } => Requirement::Invitation,
    }
}

/// What clients are told that a role may.
#[must_use]
pub(super) fn actions_of(role: MemberRole) -> Vec<MemberAction> {
    const BY_ROLE: [(MemberRole, &[MemberAction]); 2] = [
        (
            MemberRole::Moderator,
            &[
                MemberAction::Invite,
                MemberAction::Rename,
                MemberAction::AddMembers,
                MemberAction::RemoveMembers,
                MemberAction::Moderate,
            ],
        ),
        (MemberRole::Owner, &[MemberAction::ChangeRoles, MemberAction::Delete]),
    ];
    let allowed = BY_ROLE.iter().filter(|(least, _)| role >= *least);
    allowed.flat_map(|(_, actions)| actions.iter().copied()).collect()
}

/// What a member must be to invite. For the links it is asked of the rows, by the view `inviters`.
const INVITE: Requirement = Requirement::Role(MemberRole::Moderator);

/// Whether a role can meet a requirement at all; authorship is known only to the writer.
#[must_use]
pub(super) fn may_meet(role: Option<MemberRole>, requirement: Requirement) -> bool {
    match requirement {
        Requirement::Role(least) => role.is_some_and(|role| role >= least),
        Requirement::Author | Requirement::AuthorOrRole(_) => role.is_some(),
        Requirement::Invitation => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{InviteId, MessageId};

    #[test]
    fn clients_are_told_what_the_table_says() {
        let (me, other, id) = (UserId::new(), UserId::new(), MessageId::new());
        let user_id = other;
        let requests = [
            (MemberAction::Rename, Request::Rename { title: "x".into() }),
            (MemberAction::AddMembers, Request::AddMember { user_id, role: None }),
            (MemberAction::RemoveMembers, Request::RemoveMember { user_id }),
            (
                MemberAction::ChangeRoles,
                Request::ChangeMember {
                    user_id,
                    role: MemberRole::Owner,
                },
            ),
            (MemberAction::Delete, Request::DeleteConversation),
        ];
        for role in [MemberRole::Member, MemberRole::Moderator, MemberRole::Owner] {
            let told = actions_of(role);
            for (action, request) in &requests {
                let may = may_meet(Some(role), requirement(me, request));
                assert_eq!(told.contains(action), may, "{role} {action}");
            }
            assert_eq!(told.contains(&MemberAction::Invite), may_meet(Some(role), INVITE));
            // Own messages need no role.
            let moderates = matches!(requirement(me, &Request::Delete { id, if_rev: None }), Requirement::AuthorOrRole(least) if role >= least);
            assert_eq!(told.contains(&MemberAction::Moderate), moderates);
        }
    }

    #[test]
    fn the_table_is_as_documented() {
        let (me, other, id) = (UserId::new(), UserId::new(), MessageId::new());
        let lowest = |request: &Request| {
            let roles = [
                None,
                Some(MemberRole::Member),
                Some(MemberRole::Moderator),
                Some(MemberRole::Owner),
            ];
            roles.into_iter().find(|role| may_meet(*role, requirement(me, request)))
        };
        let post = Request::Post {
            id,
            body: "x".into(),
            reply_to: None,
        };
        let react = Request::React {
            id,
            emoji: "x".into(),
            on: true,
            if_rev: None,
        };
        let edit = Request::Edit {
            id,
            body: "x".into(),
            if_rev: None,
        };
        let add = Request::AddMember {
            user_id: other,
            role: None,
        };
        let change = Request::ChangeMember {
            user_id: other,
            role: MemberRole::Owner,
        };
        let invite_id = InviteId::new();
        let table = [
            (post, Some(MemberRole::Member)),
            (react, Some(MemberRole::Member)),
            (edit.clone(), Some(MemberRole::Member)),
            (Request::Delete { id, if_rev: None }, Some(MemberRole::Member)),
            (Request::RemoveMember { user_id: me }, Some(MemberRole::Member)),
            (Request::RemoveMember { user_id: other }, Some(MemberRole::Moderator)),
            (add, Some(MemberRole::Moderator)),
            (Request::Rename { title: "x".into() }, Some(MemberRole::Moderator)),
            (change, Some(MemberRole::Owner)),
            (Request::DeleteConversation, Some(MemberRole::Owner)),
            (Request::Join { invite_id }, None),
        ];
        for (request, role) in table {
            assert_eq!(lowest(&request), Some(role), "{request:?}");
        }
        assert_eq!(requirement(me, &edit), Requirement::Author);
    }
}
