//! The SQL of tenants, their people and their invitations. One function a statement, the tenant first.

mod blocks;
mod invites;
mod people;
mod tenant;

pub(super) use blocks::{delete_block, find_block, insert_block, list_blocks, lock_user};
pub(super) use invites::{InvitesPart, list_invites, withdraw_invite, withdraw_invites};
pub(super) use people::{
    AddressMatch, ListPart, count_active_owners, find_user, find_user_in, insert_event, list_users, lock_tenant,
    update_user, was_member,
};
pub(super) use tenant::{list_plans, load_tenant, set_plan, update_tenant};
