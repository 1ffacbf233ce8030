//! Who may do what in a tenant, by role. Pure.
//!
//! Roles in a conversation are not decided here but by the conversation, in memory. An admin of a
//! tenant manages people, roles, tiers and the name of the tenant. That never opens a conversation.

use crate::ids::{Plan, Role, Tier, UserStatus};

/// What a caller wants to do in their tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    CreateConversation,
    /// See who else is in the tenant (id, name and kind).
    ListUsers,
    /// See addresses, roles, tiers and states of others.
    SeeUserDetails,
    /// Change others' role, tier or status.
    ManageUsers,
    /// Change the tenant's name, and whom it admits.
    ChangeTenant,
    /// See and withdraw all links by which people come in.
    ManageInvites,
    /// See numbers about the tenant.
    ReadAnalytics,
}

/// Whether a role allows an action.
#[must_use]
pub(super) const fn allows(role: Role, action: Action) -> bool {
    match action {
        Action::CreateConversation | Action::ListUsers => matches!(role, Role::Owner | Role::Admin | Role::Member),
        Action::SeeUserDetails
        | Action::ManageUsers
        | Action::ChangeTenant
        | Action::ManageInvites
        | Action::ReadAnalytics => {
            matches!(role, Role::Owner | Role::Admin)
        }
    }
}

/// What is to become of a user; `None` leaves a property as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserChange {
    pub role: Option<Role>,
    pub tier: Option<Tier>,
    pub status: Option<UserStatus>,
}

/// The user a change is about, as they are now.
#[derive(Clone, Copy, Debug)]
pub struct ChangedUser {
    pub role: Role,
    pub status: UserStatus,
    /// Whether they are the caller.
    pub is_caller: bool,
    /// Active owners of the tenant, this user included.
    pub n_owners: i64,
    /// What their tier is now.
    pub tier: Tier,
    /// What the tenant has from the operator.
    pub plan: Plan,
}

/// Why a change of a user is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserChangeRefusal {
    /// The caller's role does not reach so far.
    #[error("Your role does not allow this.")]
    Role,
    /// The tier belongs to the operator.
    #[error("The plan of this workspace does not have this tier; ask who operates the server.")]
    Plan,
    /// Nobody suspends themselves; nobody could let them in again.
    #[error("You cannot suspend yourself.")]
    Oneself,
    /// A tenant keeps an active owner.
    #[error("The last owner of a workspace keeps the role and stays active.")]
    LastOwner,
}

/// Whether a caller may change a user.
///
/// Owners may do everything; admins manage those below them and give only roles below their own;
/// everyone may step down. No tier is given that the tenant's plan does not have.
///
/// # Errors
/// [`UserChangeRefusal`].
pub fn check_user_change(caller: Role, target: ChangedUser, change: UserChange) -> Result<(), UserChangeRefusal> {
    if !allows(caller, Action::ManageUsers) {
        return Err(UserChangeRefusal::Role);
    }
    if caller != Role::Owner {
        let manages = target.role < caller || target.is_caller;
        let gives = change.role.is_none_or(|role| role < caller || role == target.role);
        if !manages || !gives {
            return Err(UserChangeRefusal::Role);
        }
    }
    if target.is_caller && target.status == UserStatus::Suspended {
        // Only a node that does not know of it yet lets them ask. It must not be the one that
        // undoes it.
        return Err(UserChangeRefusal::Role);
    }
    let gives_tier = change.tier.filter(|tier| *tier != target.tier);
    if gives_tier.is_some_and(|tier| tier > target.plan.highest_tier()) {
        return Err(UserChangeRefusal::Plan);
    }
    let suspends = change.status == Some(UserStatus::Suspended) && target.status == UserStatus::Active;
    if suspends && target.is_caller {
        return Err(UserChangeRefusal::Oneself);
    }
    let demotes = change.role.is_some_and(|role| role != Role::Owner);
    let is_active_owner = target.role == Role::Owner && target.status == UserStatus::Active;
    if is_active_owner && (demotes || suspends) && target.n_owners <= 1 {
        return Err(UserChangeRefusal::LastOwner);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: [Role; 4] = [Role::Guest, Role::Member, Role::Admin, Role::Owner];

    fn target(role: Role) -> ChangedUser {
        ChangedUser {
            role,
            status: UserStatus::Active,
            is_caller: false,
            n_owners: 2,
            tier: Tier::Regular,
            plan: Plan::Regular,
        }
    }

    fn to_role(role: Role) -> UserChange {
        UserChange {
            role: Some(role),
            ..UserChange::default()
        }
    }

    #[test]
    fn nobody_gives_or_touches_more_than_their_own_role_allows() {
        for caller in ROLES {
            for from in ROLES {
                for to in ROLES {
                    let allowed = check_user_change(caller, target(from), to_role(to)).is_ok();
                    let expected = match caller {
                        Role::Owner => true,
                        Role::Admin => from < Role::Admin && to < Role::Admin,
                        Role::Member | Role::Guest => false,
                    };
                    assert_eq!(allowed, expected, "{caller} makes {from} {to}");
                }
            }
        }
    }

    #[test]
    fn people_step_down_but_not_up() {
        let own = |role| ChangedUser {
            is_caller: true,
            ..target(role)
        };
        assert_eq!(
            check_user_change(Role::Admin, own(Role::Admin), to_role(Role::Member)),
            Ok(())
        );
        assert_eq!(
            check_user_change(Role::Admin, own(Role::Admin), to_role(Role::Owner)),
            Err(UserChangeRefusal::Role)
        );
        assert_eq!(
            check_user_change(Role::Member, own(Role::Member), to_role(Role::Guest)),
            Err(UserChangeRefusal::Role)
        );
        assert_eq!(
            check_user_change(Role::Owner, own(Role::Owner), to_role(Role::Admin)),
            Ok(())
        );
    }

    #[test]
    fn a_tenant_keeps_an_active_owner() {
        let last = ChangedUser {
            n_owners: 1,
            ..target(Role::Owner)
        };
        let suspend = UserChange {
            status: Some(UserStatus::Suspended),
            ..UserChange::default()
        };
        assert_eq!(
            check_user_change(Role::Owner, last, to_role(Role::Admin)),
            Err(UserChangeRefusal::LastOwner)
        );
        assert_eq!(
            check_user_change(Role::Owner, last, suspend),
            Err(UserChangeRefusal::LastOwner)
        );
        assert_eq!(check_user_change(Role::Owner, last, to_role(Role::Owner)), Ok(()));
        assert_eq!(check_user_change(Role::Owner, target(Role::Owner), suspend), Ok(()));
        let suspended = ChangedUser {
            status: UserStatus::Suspended,
            n_owners: 1,
            ..target(Role::Owner)
        };
        assert_eq!(check_user_change(Role::Owner, suspended, to_role(Role::Member)), Ok(()));
    }

    #[test]
    fn admins_give_the_tiers_that_the_plan_has() {
        for plan in [Plan::Regular, Plan::Premium] {
            for from in [Tier::Anonymous, Tier::Regular, Tier::Premium] {
                for to in [Tier::Anonymous, Tier::Regular, Tier::Premium] {
                    let user = ChangedUser {
                        tier: from,
                        plan,
                        ..target(Role::Member)
                    };
                    let change = UserChange {
                        tier: Some(to),
                        ..UserChange::default()
                    };
                    // What somebody has is no gift.
                    let expected = match to <= plan.highest_tier() || to == from {
                        true => Ok(()),
                        false => Err(UserChangeRefusal::Plan),
                    };
                    assert_eq!(
                        check_user_change(Role::Owner, user, change),
                        expected,
                        "{plan} {from} {to}"
                    );
                }
            }
        }
    }

    #[test]
    fn nobody_suspends_themselves() {
        let suspend = UserChange {
            status: Some(UserStatus::Suspended),
            ..UserChange::default()
        };
        let own = ChangedUser {
            is_caller: true,
            ..target(Role::Admin)
        };
        assert_eq!(
            check_user_change(Role::Admin, own, suspend),
            Err(UserChangeRefusal::Oneself)
        );
    }

    #[test]
    fn nobody_comes_back_from_a_suspension_by_themselves() {
        let own = ChangedUser {
            is_caller: true,
            status: UserStatus::Suspended,
            ..target(Role::Owner)
        };
        let back = UserChange {
            status: Some(UserStatus::Active),
            ..UserChange::default()
        };
        assert_eq!(check_user_change(Role::Owner, own, back), Err(UserChangeRefusal::Role));
        let others = ChangedUser {
            is_caller: false,
            ..own
        };
        assert_eq!(check_user_change(Role::Owner, others, back), Ok(()));
    }

    #[test]
    fn guests_make_nothing_and_see_nobody() {
        for action in [
            Action::CreateConversation,
            Action::ListUsers,
            Action::SeeUserDetails,
            Action::ChangeTenant,
            Action::ManageInvites,
            Action::ReadAnalytics,
        ] {
            assert!(!allows(Role::Guest, action));
            assert!(allows(Role::Owner, action));
        }
        assert!(!allows(Role::Member, Action::SeeUserDetails));
    }
}
