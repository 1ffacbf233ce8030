//! Which of a tenant's people a list has. Pure.
//!
//! Used by `service.rs` and `store.rs`. What is looked for is compared with the beginnings of words,
//! as people type a name. It comes here in one form (NFC), and PostgreSQL brings names to it.
//!
//! Bound: an address is matched by its beginnings only for those who may see it anyway. For others
//! it has to be the whole one: otherwise anybody could find out addresses letter by letter.

use crate::ids::UserId;
use unicode_normalization::UnicodeNormalization as _;

/// Which users are listed; all conditions together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserFilter {
    /// Only these.
    pub ids: Option<Vec<UserId>>,
    /// Only those with a word that begins so, in the name or the address.
    pub q: Option<String>,
    /// Whether guests are in it.
    pub guests: Guests,
}

/// Whether guests are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guests {
    #[default]
    LeftOut,
    Listed,
}

impl UserFilter {
    /// The pattern for `LIKE` that finds `q` behind a blank.
    pub(super) fn pattern(&self) -> Option<String> {
        let escaped: String = self
            .q
            .as_deref()?
            .nfc()
            .flat_map(|c| {
                let escape = matches!(c, '%' | '_' | '\\').then_some('\\');
                escape.into_iter().chain([c])
            })
            .collect();
        Some(format!("% {escaped}%"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_taken_as_it_is() {
        let pattern = |q: &str| {
            let filter = UserFilter {
                q: Some(q.to_owned()),
                ..UserFilter::default()
            };
            filter.pattern().unwrap()
        };
        assert_eq!(pattern("an"), "% an%");
        assert_eq!(pattern("50%_\\"), "% 50\\%\\_\\\\%");
        assert_eq!(pattern("Zoe\u{308}"), "% Zo\u{eb}%");
        assert_eq!(UserFilter::default().pattern(), None);
    }
}
