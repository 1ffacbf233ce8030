//! Whether a refresh token is exchanged that may have been exchanged before. Pure.
//!
//! Used by `logins.rs`, under the lock of the login. A token is exchanged once. If the answer is
//! lost, its client has only the old token, and shows it again. So for [`REPEAT_WITHIN`] an
//! exchanged token is good once more, as long as its successor was never used: a client that has
//! the answer uses the successor. Two tabs that refresh at once both get a successor, and the browser
//! keeps one of them.
//!
//! Anything else is reuse: two hold tokens of one login, and one of them stole it. A thief who gets
//! the second successor is found out as soon as both successors have been used.
//!
//! Not chosen: to hand out the same successor again. It would have to be kept, and only its hash
//! is.

use std::time::Duration;

/// How long after its exchange a token may come again.
pub(super) const REPEAT_WITHIN: Duration = Duration::from_secs(60);

/// What is known of a refresh token and of its relatives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RefreshTokenRecord {
    pub(super) exchanged: Exchanged,
    /// Whether it was used by its client's repetition already.
    pub(super) is_repeated: bool,
    /// Whether one of its successors was used; `None` if it has none, as where a node of an older
    /// version exchanged it.
    pub(super) successor_used: Option<bool>,
    /// Whether another successor of the same token was used.
    pub(super) sibling_used: bool,
}

/// When a refresh token was first exchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Exchanged {
    #[default]
    Never,
    /// Within [`REPEAT_WITHIN`].
    Lately,
    LongAgo,
}

/// What is to be done with a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Exchange it.
    First,
    /// Exchange it once more: the answer was lost.
    Repeated,
    /// Revoke its login.
    Reuse,
}

pub(super) const fn judge(token: &RefreshTokenRecord) -> Judgement {
    match token.exchanged {
        Exchanged::Never if !token.sibling_used => Judgement::First,
        Exchanged::Lately if !token.is_repeated && matches!(token.successor_used, Some(false)) => Judgement::Repeated,
        Exchanged::Never | Exchanged::Lately | Exchanged::LongAgo => Judgement::Reuse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_answer_may_be_asked_for_once_more_and_nothing_else() {
        let fresh = RefreshTokenRecord::default();
        assert_eq!(judge(&fresh), Judgement::First);
        let lost = RefreshTokenRecord {
            exchanged: Exchanged::Lately,
            successor_used: Some(false),
            ..fresh
        };
        assert_eq!(judge(&lost), Judgement::Repeated);
        for reuse in [
            RefreshTokenRecord {
                exchanged: Exchanged::LongAgo,
                ..lost
            },
            RefreshTokenRecord {
                is_repeated: true,
                ..lost
            },
            RefreshTokenRecord {
                successor_used: Some(true),
                ..lost
            },
            RefreshTokenRecord {
                successor_used: None,
                ..lost
            },
            RefreshTokenRecord {
                sibling_used: true,
                ..fresh
            },
        ] {
            assert_eq!(judge(&reuse), Judgement::Reuse, "{reuse:?}");
        }
    }
}
