//! Server frames as schemas: the serde types themselves.

use super::schemas::{FrameSchema, SharedSchemas, frame};
use crate::wire::frames::{self, ServerFrame};

/// All server frames.
pub(super) fn frames(schemas: &mut SharedSchemas) -> Vec<FrameSchema> {
    macro_rules! frames {
        ($($name:ident),+ $(,)?) => {
            vec![$(frame::<frames::$name>(schemas, <frames::$name as ServerFrame>::TYPE)),+]
        };
    }
    frames!(
        Hello,
        Ack,
        Done,
        Pong,
        Subscribed,
        Message,
        Updated,
        MemberChanged,
        ConversationChanged,
        ReadMoved,
        Typing,
        Presence,
        Notice,
        Goodbye,
        ErrorFrame,
    )
}
