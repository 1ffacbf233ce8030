//! What goes into one group commit. Pure.
//!
//! A group is a run of posts, written by one statement, and then a few other changes, one after the
//! other. The order within each conversation is the order of arrival. A post that arrives behind
//! another change of its conversation waits for the next group, and so does all that arrives behind
//! it. Two things that a single statement cannot see also wait: a second post with an id of the
//! group (it must find the first), and a reply to a post of the group.

use super::operation::{Operation, Request};
use crate::ids::{ConversationId, MessageId};
use crate::wire::{PUSH_BYTES_MAX, encoded_len};
use std::collections::{HashSet, VecDeque};

/// Most posts in a group.
const POSTS_MAX: usize = 500;
/// Most other changes in a group; each costs a few round trips while rows are locked.
const CHANGES_MAX: usize = 32;
/// Most bytes of bodies in a group, as readers get them. A group is shown to them in one turn, and
/// whoever reads fast must not be thrown out by it.
const BYTES_MAX: usize = PUSH_BYTES_MAX;

/// What the grouping must know of an operation.
pub trait Grouped {
    /// The conversation, within which order matters.
    fn conversation(&self) -> ConversationId;
    /// For a post: its id, and the message that it replies to.
    fn post(&self) -> Option<(MessageId, Option<MessageId>)>;
    /// The length of its body in a frame.
    fn bytes(&self) -> usize;
}

impl Grouped for Operation {
    fn conversation(&self) -> ConversationId {
        self.conversation_id
    }

    fn post(&self) -> Option<(MessageId, Option<MessageId>)> {
        match &self.request {
            Request::Post { id, reply_to, .. } => Some((*id, *reply_to)),
            _ => None,
        }
    }

    fn bytes(&self) -> usize {
        match &self.request {
            Request::Post { body, .. } | Request::Edit { body, .. } => encoded_len(body),
            _ => 0,
        }
    }
}

/// What is committed together.
#[derive(Debug)]
pub struct Group<T> {
    /// Written first, by one statement, in this order.
    pub posts: Vec<T>,
    /// Applied after the posts, one by one, in this order.
    pub changes: Vec<T>,
}

impl<T> Group<T> {
    #[must_use]
    pub const fn len(&self) -> usize {
        self.posts.len() + self.changes.len()
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.posts.is_empty() && self.changes.is_empty()
    }

    /// Two groups that together are this one, each smaller; for finding the operation that cannot
    /// be committed.
    #[must_use]
    pub fn split(mut self) -> (Self, Self) {
        if self.posts.is_empty() {
            let rest = self.changes.split_off(self.changes.len() / 2);
            return (
                Self {
                    posts: Vec::new(),
                    changes: self.changes,
                },
                Self {
                    posts: Vec::new(),
                    changes: rest,
                },
            );
        }
        if !self.changes.is_empty() {
            return (
                Self {
                    posts: self.posts,
                    changes: Vec::new(),
                },
                Self {
                    posts: Vec::new(),
                    changes: self.changes,
                },
            );
        }
        let rest = self.posts.split_off(self.posts.len() / 2);
        (
            Self {
                posts: self.posts,
                changes: Vec::new(),
            },
            Self {
                posts: rest,
                changes: Vec::new(),
            },
        )
    }
}

/// Operations in the order of arrival, not yet in a group.
#[derive(Debug)]
pub struct Queue<T> {
    waiting: VecDeque<T>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
        }
    }
}

impl<T: Grouped> Queue<T> {
    pub fn push(&mut self, operation: T) {
        self.waiting.push_back(operation);
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether a whole group waits, so that reading on would gain nothing.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= POSTS_MAX
    }

    /// Takes the next group; empty only if nothing waits.
    pub fn next_group(&mut self) -> Group<T> {
        let mut group = Group {
            posts: Vec::new(),
            changes: Vec::new(),
        };
        let mut held = VecDeque::new();
        let mut blocked = HashSet::new();
        let mut changed = HashSet::new();
        let mut ids = HashSet::new();
        let mut bytes = 0;
        while let Some(operation) = self.waiting.pop_front() {
            let conversation = operation.conversation();
            let fits = !blocked.contains(&conversation)
                && (group.is_empty() || bytes + operation.bytes() <= BYTES_MAX)
                && match operation.post() {
                    Some((id, reply_to)) => {
                        group.posts.len() < POSTS_MAX
                            && !changed.contains(&conversation)
                            && !ids.contains(&id)
                            && !reply_to.is_some_and(|target| ids.contains(&target))
                    }
                    None => group.changes.len() < CHANGES_MAX,
                };
            if !fits {
                blocked.insert(conversation);
                held.push_back(operation);
                if group.posts.len() >= POSTS_MAX || bytes >= BYTES_MAX {
                    break;
                }
                continue;
            }
            bytes += operation.bytes();
            if let Some((id, _)) = operation.post() {
                ids.insert(id);
                group.posts.push(operation);
            } else {
                changed.insert(conversation);
                group.changes.push(operation);
            }
        }
        held.append(&mut self.waiting);
        self.waiting = held;
        group
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    #[derive(Clone, Debug, PartialEq)]
    struct Op {
        number: usize,
        conversation: u8,
        post: Option<(u8, Option<u8>)>,
        bytes: usize,
    }

    impl Grouped for Op {
        fn conversation(&self) -> ConversationId {
            ConversationId(Uuid::from_u128(u128::from(self.conversation)))
        }
        fn post(&self) -> Option<(MessageId, Option<MessageId>)> {
            let id = |n: u8| MessageId(Uuid::from_u128(u128::from(n)));
            self.post.map(|(n, reply_to)| (id(n), reply_to.map(id)))
        }
        fn bytes(&self) -> usize {
            self.bytes
        }
    }

    fn queue_of(ops: &[Op]) -> Queue<Op> {
        let mut queue = Queue::default();
        for op in ops {
            queue.push(op.clone());
        }
        queue
    }

    fn op() -> impl Strategy<Value = Op> {
        let post = (0_u8..20, proptest::option::of(0_u8..20));
        let parts = (0_u8..4, proptest::option::of(post), 0_usize..400_000);
        parts.prop_map(|(conversation, post, bytes)| Op {
            number: 0,
            conversation,
            post,
            bytes,
        })
    }

    fn post(number: usize, conversation: u8, id: u8) -> Op {
        Op {
            number,
            conversation,
            post: Some((id, None)),
            bytes: 10,
        }
    }

    fn change(number: usize, conversation: u8) -> Op {
        Op {
            number,
            conversation,
            post: None,
            bytes: 0,
        }
    }

    #[test]
    fn a_post_behind_a_change_of_its_conversation_waits_and_others_do_not() {
        let mut queue = queue_of(&[post(0, 1, 1), change(1, 1), post(2, 1, 2), post(3, 2, 3), change(4, 1)]);
        let group = queue.next_group();
        assert_eq!(group.posts.iter().map(|op| op.number).collect::<Vec<_>>(), [0, 3]);
        assert_eq!(group.changes.iter().map(|op| op.number).collect::<Vec<_>>(), [1]);
        let group = queue.next_group();
        assert_eq!((group.posts[0].number, group.changes[0].number), (2, 4));
        assert!(queue.is_empty());
    }

    #[test]
    fn a_repeated_id_and_a_reply_within_the_group_wait() {
        let mut reply = post(2, 2, 9);
        reply.post = Some((9, Some(1)));
        let mut queue = queue_of(&[post(0, 1, 1), post(1, 3, 1), reply]);
        assert_eq!(queue.next_group().len(), 1);
        assert_eq!(queue.next_group().len(), 1);
        assert_eq!(queue.next_group().posts[0].number, 2);
    }

    #[test]
    fn groups_are_bounded_by_count_and_bytes() {
        let mut queue = Queue::default();
        for number in 0..POSTS_MAX + 1 {
            queue.push(Op {
                number,
                conversation: 1,
                post: None,
                bytes: 0,
            });
        }
        assert_eq!(queue.next_group().len(), CHANGES_MAX);
        let mut queue = Queue::default();
        for id in 0..3 {
            queue.push(Op {
                number: 0,
                conversation: id,
                post: Some((id, None)),
                bytes: BYTES_MAX / 2 + 1,
            });
        }
        assert_eq!(queue.next_group().len(), 1);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_each_conversation_keeps_its_order(
            mut ops in proptest::collection::vec(op(), 0..120)
        ) {
            ops.iter_mut().enumerate().for_each(|(number, op)| op.number = number);
            let mut queue = queue_of(&ops);
            let mut done: Vec<Op> = Vec::new();
            while !queue.is_empty() {
                let group = queue.next_group();
                prop_assert!(!group.is_empty());
                let bytes: usize = group.posts.iter().chain(&group.changes).map(|op| op.bytes).sum();
                prop_assert!(group.len() == 1 || bytes <= BYTES_MAX);
                let ids: HashSet<_> = group.posts.iter().filter_map(|op| op.post.map(|(id, _)| id)).collect();
                prop_assert_eq!(ids.len(), group.posts.len());
                done.extend(group.posts);
                done.extend(group.changes);
            }
            prop_assert_eq!(done.len(), ops.len());
            for conversation in 0..4 {
                let order: Vec<_> = done.iter().filter(|op| op.conversation == conversation).map(|op| op.number).collect();
                prop_assert!(order.is_sorted());
            }
        }

        #[test]
        fn splitting_ends_at_single_operations(posts in 0_usize..40, changes in 0_usize..40) {
            let group = Group { posts: (0..posts).collect(), changes: (0..changes).collect::<Vec<_>>() };
            let mut pending = vec![group];
            let mut singles = 0;
            while let Some(group) = pending.pop() {
                if group.len() <= 1 {
                    singles += group.len();
                } else {
                    let (a, b) = group.split();
                    prop_assert!(!a.is_empty() && !b.is_empty());
                    pending.extend([a, b]);
                }
            }
            prop_assert_eq!(singles, posts + changes);
        }
    }
}
