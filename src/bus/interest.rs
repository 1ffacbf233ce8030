//! Which subscription gets which envelope. So a message wakes neither the cache nor presence.

use super::envelope::Envelope;

/// What a subscriber wants from the bus. Every envelope belongs to one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Changes, read markers, typing and notices: what the registry of conversations handles.
    Conversations,
    /// Who is connected to other nodes.
    Presence,
    /// What caches must not believe any more.
    Invalidations,
}

impl Interest {
    /// Who handles an envelope.
    #[must_use]
    pub const fn of(envelope: &Envelope) -> Self {
        match envelope {
            Envelope::Committed(_)
            | Envelope::Read { .. }
            | Envelope::Typing { .. }
            | Envelope::Resumed(_)
            | Envelope::Notices { .. } => Self::Conversations,
            Envelope::Presence(_) => Self::Presence,
            Envelope::Invalidated(_) => Self::Invalidations,
        }
    }
}
