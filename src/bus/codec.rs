//! Envelopes as bytes, between nodes that may be of different versions while an installation is
//! upgraded.
//!
//! A version byte, the seal, the sender, the time, then the envelope in postcard's form
//! (`encoded.rs`). A node ignores another version, and bytes that are not an envelope: what they said
//! is repaired from PostgreSQL like anything lost. So a change of those types means another
//! [`VERSION`], and a rolling upgrade across it costs seconds of delay.
//!
//! An envelope is believed only with a seal over its channel and everything behind the seal: nodes
//! that share the secret have it, others who can write to Redis do not. What is older or younger
//! than [`AGE_MAX`] is not believed either, so that nobody sends it a second time much later.

use super::encoded::{
    EncodedCause, EncodedChange, EncodedContent, EncodedEnvelope, EncodedMemberChange, EncodedNotice,
    EncodedNoticeMessage, Micros,
};
use super::envelope::Envelope;
use crate::ids::{ConversationId, NodeId, UserId};
use crate::redis::{SEAL_BYTES, Sealer};
use crate::wire::frames::{
    Cause, ConversationChanged, MemberChange, MemberChanged, MemberUser, Message, Notice, NoticeMessage, Reaction,
};
use crate::wire::{Change, Committed};
use bytestring::ByteString;
use chrono::{DateTime, TimeDelta, Utc};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// The form of the bytes that follow. Another one is not read. Version 1 had no seal, version 2 no
/// causes.
const VERSION: u8 = 3;
/// Where the seal stands.
const SEAL: Range<usize> = 1..1 + SEAL_BYTES;
/// How far the sender's clock may be from ours, and how long an envelope may be under way. Clocks of
/// nodes are within seconds of each other.
const AGE_MAX: TimeDelta = TimeDelta::minutes(2);

/// Longest envelope that is read. The longest that is written is a tenth of that: a group with its
/// changes, or a notice to all members of a conversation.
const ENVELOPE_BYTES_MAX: usize = 8 * 1_024 * 1_024;

/// Why bytes are not an envelope.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// From a node of another version.
    #[error("an envelope of version {0}")]
    Version(u8),
    #[error("not an envelope: {0}")]
    Broken(#[from] postcard::Error),
    #[error("not an envelope: a time is out of range")]
    Time,
    #[error("an envelope of {0} bytes")]
    TooLong(usize),
    /// Made without the secret of the nodes, or for another channel.
    #[error("the seal is not right")]
    Seal,
    /// A replayed envelope, or a clock is wrong.
    #[error("published {0} ms ago")]
    Age(i64),
}

impl Error {
    /// Whether it looks like a forgery, and not like a fault of a node.
    pub(super) const fn is_forgery(&self) -> bool {
        matches!(self, Self::Seal | Self::Age(_))
    }
}

/// An envelope that another node has published.
#[derive(Debug)]
pub(super) struct DecodedEnvelope {
    pub(super) published_at: DateTime<Utc>,
    pub(super) envelope: Envelope,
}

/// The bytes of an envelope, with room for its seal; `None` for one that is never published.
pub(super) fn encode(from: NodeId, at: DateTime<Utc>, envelope: &Envelope) -> Option<Vec<u8>> {
    let content = match envelope {
        Envelope::Committed(committed) => EncodedContent::Committed {
            conversation_id: committed.conversation_id,
            changes: committed.changes.iter().map(encode_change).collect(),
            observed: committed.observed,
        },
        Envelope::Read {
            conversation_id,
            user_id,
            seq,
        } => EncodedContent::Read {
            conversation_id: *conversation_id,
            user_id: *user_id,
            seq: *seq,
        },
        Envelope::Typing {
            conversation_id,
            user_id,
            on,
        } => EncodedContent::Typing {
            conversation_id: *conversation_id,
            user_id: *user_id,
            on: *on,
        },
        Envelope::Presence(message) => EncodedContent::Presence(message.clone()),
        Envelope::Notices { notice, unread } => EncodedContent::Notices {
            notice: encode_notice(notice),
            unread: unread.clone(),
        },
        Envelope::Invalidated(invalidation) => EncodedContent::Invalidated(invalidation.clone()),
        Envelope::Resumed(_) => return None,
    };
    let encoded = EncodedEnvelope {
        from,
        published_at: at.timestamp_micros(),
        content,
    };
    // Writing to a vector fails for nothing that these types can hold.
    let mut bytes = vec![0; SEAL.end];
    bytes[0] = VERSION;
    postcard::to_extend(&encoded, bytes).ok()
}

/// Seals an encoded envelope for a channel.
pub(super) fn seal(sealer: &Sealer, channel: &str, bytes: &mut [u8]) {
    if let Some((head, content)) = bytes.split_at_mut_checked(SEAL.end) {
        head[SEAL].copy_from_slice(&sealer.seal(channel.as_bytes(), content));
    }
}

/// The node that published an envelope, without a look at the seal or the rest.
pub(super) fn sender(bytes: &[u8]) -> Option<NodeId> {
    let (_, content) = split(bytes).ok()?;
    postcard::take_from_bytes(content).ok().map(|(from, _)| from)
}

/// The seal and the content.
fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    match bytes.first() {
        Some(&VERSION) => {}
        Some(version) => return Err(Error::Version(*version)),
        None => return Err(postcard::Error::DeserializeUnexpectedEnd.into()),
    }
    let (head, content) = bytes
        .split_at_checked(SEAL.end)
        .ok_or(postcard::Error::DeserializeUnexpectedEnd)?;
    Ok((&head[SEAL], content))
}

/// The envelope of some bytes that arrived on a channel.
///
/// # Errors
/// [`Error`]: ignore the bytes.
pub(super) fn decode(
    sealer: &Sealer,
    channel: &[u8],
    bytes: &[u8],
    now: DateTime<Utc>,
) -> Result<DecodedEnvelope, Error> {
    if bytes.len() > ENVELOPE_BYTES_MAX {
        return Err(Error::TooLong(bytes.len()));
    }
    let (seal, content) = split(bytes)?;
    if !sealer.is_sealed(channel, content, seal) {
        return Err(Error::Seal);
    }
    let encoded: EncodedEnvelope<'_> = postcard::from_bytes(content)?;
    let published_at = time(encoded.published_at)?;
    let age = now.signed_duration_since(published_at);
    if age.abs() > AGE_MAX {
        return Err(Error::Age(age.num_milliseconds()));
    }
    let envelope = match encoded.content {
        EncodedContent::Committed {
            conversation_id,
            changes,
            observed,
        } => Envelope::Committed(Committed {
            conversation_id,
            tenant_id: None,
            changes: changes
                .into_iter()
                .map(|change| decode_change(conversation_id, change))
                .collect::<Result<_, _>>()?,
            observed,
            since: None,
            committed_at: None,
        }),
        EncodedContent::Read {
            conversation_id,
            user_id,
            seq,
        } => Envelope::Read {
            conversation_id,
            user_id,
            seq,
        },
        EncodedContent::Typing {
            conversation_id,
            user_id,
            on,
        } => Envelope::Typing {
            conversation_id,
            user_id,
            on,
        },
        EncodedContent::Presence(message) => Envelope::Presence(message),
        EncodedContent::Notices { notice, unread } => Envelope::Notices {
            notice: decode_notice(notice)?,
            unread,
        },
        EncodedContent::Invalidated(invalidation) => Envelope::Invalidated(invalidation),
    };
    Ok(DecodedEnvelope { published_at, envelope })
}

fn encode_notice(notice: &Notice) -> EncodedNotice<'_> {
    EncodedNotice {
        conversation: notice.conversation,
        rev: notice.rev,
        title: Cow::Borrowed(&notice.title),
        last_seq: notice.last_seq,
        last_message: notice.last_message.as_ref().map(|last| EncodedNoticeMessage {
            id: last.id,
            seq: last.seq,
            author: last.author,
            author_name: last.author_name.as_deref().map(Cow::Borrowed),
            kind: last.kind,
            body: last.body.as_deref().map(Cow::Borrowed),
            created_at: last.created_at.timestamp_micros(),
        }),
        last_message_at: notice.last_message_at.as_ref().map(DateTime::timestamp_micros),
        removed: notice.removed,
    }
}

fn decode_notice(notice: EncodedNotice<'_>) -> Result<Notice, Error> {
    let text = |text: Cow<'_, str>| ByteString::from(text.into_owned());
    let last_message = notice.last_message.map(|last| {
        Ok::<_, Error>(NoticeMessage {
            id: last.id,
            seq: last.seq,
            author: last.author,
            author_name: last.author_name.map(text),
            kind: last.kind,
            body: last.body.map(text),
            created_at: time(last.created_at)?,
        })
    });
    Ok(Notice {
        conversation: notice.conversation,
        rev: notice.rev,
        title: text(notice.title),
        last_seq: notice.last_seq,
        last_message: last_message.transpose()?,
        last_message_at: notice.last_message_at.map(time).transpose()?,
        removed: notice.removed,
        unread: 0,
    })
}

fn encode_change(change: &Change) -> EncodedChange<'_> {
    let micros = |at: &Option<DateTime<Utc>>| at.as_ref().map(DateTime::timestamp_micros);
    match change {
        Change::Message(message) => EncodedChange::Message {
            rev: message.rev,
            posted_rev: message.posted_rev,
            seq: message.seq,
            id: message.id,
            author: message.author,
            kind: message.kind,
            body: message.body.as_deref().map(Cow::Borrowed),
            reply_to: message.reply_to,
            created_at: message.created_at.timestamp_micros(),
            edited_at: micros(&message.edited_at),
            deleted_at: micros(&message.deleted_at),
            reactions: message
                .reactions
                .iter()
                .map(|reaction| (Cow::Borrowed(&*reaction.emoji), reaction.count, reaction.users.clone()))
                .collect(),
            cause: message.cause.as_ref().map(|cause| EncodedCause {
                by: cause.by,
                reaction: cause
                    .reaction
                    .as_ref()
                    .map(|(emoji, on)| (Cow::Borrowed(&**emoji), *on)),
            }),
        },
        Change::Member(member) => EncodedChange::Member {
            rev: member.rev,
            joined_rev: member.joined_rev,
            id: member.user.id,
            name: Cow::Borrowed(&member.user.name),
            kind: member.user.kind,
            role: member.user.role,
            change: match member.change {
                MemberChange::Added => EncodedMemberChange::Added,
                MemberChange::Changed => EncodedMemberChange::Changed,
                MemberChange::Removed => EncodedMemberChange::Removed,
            },
        },
        Change::Properties(properties) => EncodedChange::Properties {
            rev: properties.rev,
            title: Cow::Borrowed(&properties.title),
            deleted_at: micros(&properties.deleted_at),
        },
    }
}

fn decode_change(conversation: ConversationId, change: EncodedChange<'_>) -> Result<Change, Error> {
    let maybe = |at: Option<Micros>| at.map(time).transpose();
    let text = |text: Cow<'_, str>| ByteString::from(text.into_owned());
    Ok(match change {
        EncodedChange::Message {
            rev,
            posted_rev,
            seq,
            id,
            author,
            kind,
            body,
            reply_to,
            created_at,
            edited_at,
            deleted_at,
            reactions,
            cause,
        } => Change::Message(Arc::new(Message {
            conversation,
            rev,
            seq,
            id,
            author,
            kind,
            body: body.map(text),
            reply_to,
            created_at: time(created_at)?,
            edited_at: maybe(edited_at)?,
            deleted_at: maybe(deleted_at)?,
            reactions: reactions.into_iter().map(decode_reaction).collect(),
            mine: None,
            cause: cause.map(decode_cause),
            posted_rev,
        })),
        EncodedChange::Member {
            rev,
            joined_rev,
            id,
            name,
            kind,
            role,
            change,
        } => Change::Member(Arc::new(MemberChanged {
            conversation,
            rev,
            user: MemberUser {
                id,
                name: text(name),
                kind,
                role,
            },
            change: match change {
                EncodedMemberChange::Added => MemberChange::Added,
                EncodedMemberChange::Changed => MemberChange::Changed,
                EncodedMemberChange::Removed => MemberChange::Removed,
            },
            joined_rev,
        })),
        EncodedChange::Properties { rev, title, deleted_at } => Change::Properties(Arc::new(ConversationChanged {
            conversation,
            rev,
            title: text(title),
            deleted_at: maybe(deleted_at)?,
        })),
    })
}

fn decode_reaction((emoji, count, users): (Cow<'_, str>, i64, Vec<UserId>)) -> Reaction {
    Reaction {
        emoji: emoji.into_owned(),
        count,
        users,
    }
}

fn decode_cause(cause: EncodedCause<'_>) -> Box<Cause> {
    Box::new(Cause {
        by: cause.by,
        reaction: cause.reaction.map(|(emoji, on)| (emoji.into_owned(), on)),
    })
}

fn time(micros: Micros) -> Result<DateTime<Utc>, Error> {
    DateTime::from_timestamp_micros(micros).ok_or(Error::Time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{Invalidation, PresenceMessage, SnapshotPart};
    use crate::ids::{MemberRole, MessageId, Rev, Seq, UserKind};
    use crate::redis::SealPurpose;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 123_456_000).unwrap()
    }

    fn changes(conversation: ConversationId) -> Vec<Change> {
        let message = Message {
            conversation,
            rev: Rev(9),
            seq: Seq(4),
            id: MessageId::new(),
            author: UserId::new(),
            kind: UserKind::Agent,
            body: Some("Grüße, \u{1f44b}".into()),
            reply_to: Some(MessageId::new()),
            created_at: at(1_700_000_000),
            edited_at: Some(at(1_700_000_001)),
            deleted_at: None,
            reactions: vec![Reaction {
                emoji: "\u{1f44d}".into(),
                count: 21,
                users: vec![UserId::new(), UserId::new()],
            }],
            mine: None,
            cause: Some(Box::new(Cause {
                by: UserId::new(),
                reaction: Some(("\u{1f44d}".into(), true)),
            })),
            posted_rev: Rev(7),
        };
        let deleted = Message {
            body: None,
            deleted_at: Some(at(1_700_000_002)),
            reactions: Vec::new(),
            ..message.clone()
        };
        let member = |change| MemberChanged {
            conversation,
            rev: Rev(10),
            user: MemberUser {
                id: UserId::new(),
                name: "Ann".into(),
                kind: UserKind::Person,
                role: MemberRole::Moderator,
            },
            change,
            joined_rev: Rev(3),
        };
        let properties = ConversationChanged {
            conversation,
            rev: Rev(11),
            title: "Harbour".into(),
            deleted_at: Some(at(1_700_000_003)),
        };
        let members = [MemberChange::Added, MemberChange::Changed, MemberChange::Removed].map(member);
        let messages = [message, deleted].map(|message| Change::Message(Arc::new(message)));
        let mut all = messages.to_vec();
        all.extend(members.map(|member| Change::Member(Arc::new(member))));
        all.push(Change::Properties(Arc::new(properties)));
        all
    }

    #[test]
    fn changes_arrive_as_they_were_sent() {
        let (node, conversation_id) = (NodeId::new(), ConversationId::new());
        let changes = changes(conversation_id);
        let sent = Envelope::Committed(Committed {
            conversation_id,
            tenant_id: None,
            changes: changes.clone(),
            observed: Rev(12),
            since: Some(std::time::Instant::now()),
            committed_at: Some(std::time::Instant::now()),
        });
        let received = received(&encode(node, at(5), &sent).unwrap(), at(5)).unwrap();
        assert_eq!(received.published_at, at(5));
        assert_eq!(sender(&encode(node, at(5), &sent).unwrap()), Some(node));
        let Envelope::Committed(committed) = received.envelope else {
            panic!("another kind of envelope")
        };
        assert_eq!(
            (committed.conversation_id, committed.observed, committed.since),
            (conversation_id, Rev(12), None)
        );
        assert_eq!(committed.changes, changes);
    }

    #[test]
    fn a_notice_arrives_as_it_was_sent() {
        let notice = Notice {
            conversation: ConversationId::new(),
            rev: Rev(9),
            title: "Grüße".into(),
            last_seq: Seq(4),
            last_message: Some(NoticeMessage {
                id: MessageId::new(),
                seq: Seq(4),
                author: UserId::new(),
                author_name: Some("Ann".into()),
                kind: UserKind::Person,
                body: None,
                created_at: at(1_700_000_000),
            }),
            last_message_at: Some(at(1_700_000_000)),
            removed: true,
            unread: 0,
        };
        let unread = vec![(UserId::new(), 3), (UserId::new(), 0)];
        let sent = Envelope::Notices {
            notice: notice.clone(),
            unread: unread.clone(),
        };
        let received = received(&encode(NodeId::new(), at(5), &sent).unwrap(), at(5)).unwrap();
        assert!(matches!(received.envelope, Envelope::Notices { notice: n, unread: u } if n == notice && u == unread));
    }

    /// Nodes of two versions read each other while an installation is upgraded. If this fails,
    /// [`VERSION`] must change.
    #[test]
    fn the_bytes_are_those_of_earlier_versions() {
        let id = |n: u128| uuid::Uuid::from_u128(n);
        let node = NodeId(id(1));
        let uuid = |n: u8| [&[16][..], &[0; 15], &[n]].concat();
        // No envelope is published without its seal; its bytes are pinned in `redis/seal.rs`.
        let head = [&[3][..], &[0; 16], &uuid(1), &[10]].concat();
        let five_micros = DateTime::from_timestamp_micros(5).unwrap();
        let (conversation_id, user_id) = (ConversationId(id(2)), UserId(id(3)));
        let read = Envelope::Read {
            conversation_id,
            user_id,
            seq: Seq(4),
        };
        let heartbeat = PresenceMessage::Heartbeat { node, version: 300 };
        let request = PresenceMessage::SyncRequest { node };
        let pinned = [
            (read, [&[1][..], &uuid(2), &uuid(3), &[8]].concat()),
            (
                Envelope::Presence(heartbeat),
                [&[3, 1][..], &uuid(1), &[172, 2]].concat(),
            ),
            (Envelope::Presence(request), [&[3, 2][..], &uuid(1)].concat()),
            (Envelope::Invalidated(Invalidation::Everything), vec![5, 1]),
        ];
        for (envelope, content) in pinned {
            let bytes = encode(node, five_micros, &envelope).unwrap();
            assert_eq!(bytes, [head.clone(), content].concat(), "{envelope:?}");
        }
    }

    #[test]
    fn what_is_not_an_envelope_is_refused() {
        let (conversation_id, user_id, seq) = (ConversationId::new(), UserId::new(), Seq(3));
        let read = Envelope::Read {
            conversation_id,
            user_id,
            seq,
        };
        let bytes = encode(NodeId::new(), at(0), &read).unwrap();
        assert!(matches!(
            received(&bytes, at(0)).unwrap().envelope,
            Envelope::Read { seq: Seq(3), .. }
        ));
        for version in [VERSION - 1, VERSION + 1] {
            let mut other = bytes.clone();
            other[0] = version;
            let error = received(&other, at(0)).unwrap_err();
            assert!(matches!(error, Error::Version(_)) && !error.is_forgery());
            assert_eq!(sender(&other), None);
        }
        for length in 0..bytes.len() {
            assert!(received(&bytes[..length], at(0)).is_err(), "{length} bytes");
            assert!(length > 33 || sender(&bytes[..length]).is_none(), "{length} bytes");
        }
        assert!(encode(NodeId::new(), at(0), &Envelope::Resumed(Vec::new())).is_none());
        let long = vec![VERSION; ENVELOPE_BYTES_MAX + 1];
        assert!(matches!(received(&long, at(0)).unwrap_err(), Error::TooLong(_)));
    }

    #[test]
    fn only_nodes_are_believed_on_the_channel_and_at_the_time_they_mean() {
        let (conversation_id, user_id, seq) = (ConversationId::new(), UserId::new(), Seq(3));
        let read = Envelope::Read {
            conversation_id,
            user_id,
            seq,
        };
        let mut bytes = encode(NodeId::new(), at(0), &read).unwrap();
        let forged = |result: Result<DecodedEnvelope, Error>| result.is_err_and(|error| error.is_forgery());
        assert!(forged(decode(&sealer(), CHANNEL.as_bytes(), &bytes, at(0))), "no seal");
        seal(&sealer(), CHANNEL, &mut bytes);
        let decoded =
            |sealer: &Sealer, channel: &str, bytes: &[u8], now| decode(sealer, channel.as_bytes(), bytes, now);
        assert!(decoded(&sealer(), CHANNEL, &bytes, at(0)).is_ok());
        assert!(forged(decoded(
            &Sealer::new(b"another", None, SealPurpose::Bus),
            CHANNEL,
            &bytes,
            at(0)
        )));
        assert!(forged(decoded(&sealer(), "another channel", &bytes, at(0))));
        for n in SEAL.start..bytes.len() {
            let mut changed = bytes.clone();
            changed[n] ^= 1;
            assert!(forged(decoded(&sealer(), CHANNEL, &changed, at(0))), "byte {n}");
        }
        for (seconds, is_forged) in [(-121, true), (-119, false), (119, false), (121, true)] {
            assert_eq!(
                forged(decoded(&sealer(), CHANNEL, &bytes, at(seconds))),
                is_forged,
                "{seconds}"
            );
        }
    }

    const CHANNEL: &str = "a channel";

    fn sealer() -> Sealer {
        Sealer::new(b"a secret", None, SealPurpose::Bus)
    }

    /// Sealed and decoded again.
    fn received(bytes: &[u8], now: DateTime<Utc>) -> Result<DecodedEnvelope, Error> {
        let mut bytes = bytes.to_vec();
        seal(&sealer(), CHANNEL, &mut bytes);
        decode(&sealer(), CHANNEL.as_bytes(), &bytes, now)
    }

    /// Nodes of the version before read these bytes, and write them.
    #[test]
    fn presence_has_the_form_that_it_always_had() {
        let (node, user_id) = (NodeId(uuid(1)), UserId(uuid(2)));
        let id = |last: u8| [&[16][..], &[0; 15], &[last]].concat();
        let cases = [
            (
                PresenceMessage::Delta {
                    node,
                    user_id,
                    online: true,
                },
                [&[0][..], &id(1), &id(2), &[1]].concat(),
            ),
            (
                PresenceMessage::Heartbeat { node, version: 300 },
                [&[1][..], &id(1), &[0xAC, 0x02]].concat(),
            ),
            (PresenceMessage::SyncRequest { node }, [&[2][..], &id(1)].concat()),
            (
                PresenceMessage::Snapshot(SnapshotPart {
                    node,
                    version: 7,
                    part: 0,
                    parts: 2,
                    users: vec![user_id],
                }),
                [&[3][..], &id(1), &[7, 0, 2, 1], &id(2)].concat(),
            ),
        ];
        for (message, expected) in cases {
            let bytes = encode(node, DateTime::UNIX_EPOCH, &Envelope::Presence(message)).unwrap();
            let head = [&[VERSION][..], &[0; SEAL_BYTES], &id(1), &[0], &[3]].concat();
            assert_eq!(bytes, [head, expected].concat());
        }
    }

    fn uuid(number: u128) -> uuid::Uuid {
        uuid::Uuid::from_u128(number)
    }
}
