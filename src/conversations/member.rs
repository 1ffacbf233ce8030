//! A member of a conversation, as its state knows them.

use crate::ids::{MemberRole, Seq, UserKind};
use bytestring::ByteString;

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) name: ByteString,
    pub(super) kind: UserKind,
    pub(super) role: MemberRole,
    pub(super) read_seq: Seq,
    pub(super) online: bool,
}
