//! A member of a conversation, as its state knows them.

use crate::ids::{MemberRole, Seq, UserKind};
use bytestring::ByteString;

#[derive(Clone, Debug)]
pub struct Member {
    pub name: ByteString,
    pub kind: UserKind,
    pub role: MemberRole,
    pub read_seq: Seq,
    pub online: bool,
}
