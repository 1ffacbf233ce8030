//! Passwords as text: how long one is, and when two are the same. Pure.
//!
//! Used by `password.rs` and `registration.rs`. Keyboards and systems write one character in
//! different bytes: macOS and iOS often send `é` as two code points where others send one. So a
//! password is brought to one form before it is hashed or compared: OpaqueString of RFC 8265, that
//! is NFC, with every space as the ordinary one. Case and width stay.
//!
//! Accounts whose hash is older than this rule were hashed as they were typed. So the forms in
//! which the same text may have come then are tried besides, where they differ.
//!
//! Bound: three forms, and only of a password with characters beyond ASCII. They depend on what was
//! typed and not on the account, so the time tells nothing of it.

use super::error::Error;
use unicode_normalization::{IsNormalized, UnicodeNormalization as _, is_nfc_quick};

/// Shortest password, in characters.
const CHARS_MIN: usize = 8;
/// Longest password, in characters.
const CHARS_MAX: usize = 256;
/// Characters that are judged.
const JUDGED_CHARS_MAX: usize = 32;
/// More bytes than any password has, in whatever form.
const BYTES_MAX: usize = 16 * CHARS_MAX;

/// A password as it was typed, within the bound of bytes.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct TypedPassword(String);

/// A password in the form in which it is hashed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct PreparedPassword(String);

impl TypedPassword {
    /// `None` if it is longer than any password.
    pub(super) fn new(typed: String) -> Option<Self> {
        (typed.len() <= BYTES_MAX).then_some(Self(typed))
    }

    pub(super) fn prepare(&self) -> PreparedPassword {
        PreparedPassword(prepare(&self.0))
    }

    /// The forms in which it may have been hashed before there was a rule, without the prepared
    /// one.
    pub(super) fn older_forms(&self) -> Vec<String> {
        if self.0.is_ascii() {
            return Vec::new();
        }
        let prepared = prepare(&self.0);
        let mut forms = vec![self.0.clone(), prepared.nfd().collect()];
        forms.dedup();
        forms.retain(|form| *form != prepared);
        forms
    }
}

impl PreparedPassword {
    /// A new password, if it is as long as one must be.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub(super) fn new(typed: String) -> Result<Self, Error> {
        let prepared = TypedPassword::new(typed).map(|typed| typed.prepare());
        let fits = |password: &Self| (CHARS_MIN..=CHARS_MAX).contains(&password.0.chars().count());
        prepared.filter(fits).ok_or_else(|| {
            let message = format!("A password has {CHARS_MIN} to {CHARS_MAX} characters.");
            Error::invalid("password", message)
        })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// What is judged of it: the beginning. Judging takes the longer the more characters there are,
    /// half a second for a hundred, and what begins like no common password is none.
    pub(super) fn judged_part(&self) -> &str {
        let end = self.0.char_indices().nth(JUDGED_CHARS_MAX);
        end.map_or(self.as_str(), |(end, _)| &self.0[..end])
    }
}

fn prepare(text: &str) -> String {
    let is_space = |c| {
        matches!(
            c,
            '\u{A0}' | '\u{1680}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}'
        )
    };
    if is_nfc_quick(text.chars()) == IsNormalized::Yes && !text.contains(is_space) {
        return text.to_owned();
    }
    let spaced = text.chars().map(|c| if is_space(c) { ' ' } else { c });
    spaced.nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(text: &str) -> String {
        TypedPassword::new(text.to_owned()).unwrap().prepare().0
    }

    fn older(text: &str) -> Vec<String> {
        TypedPassword::new(text.to_owned()).unwrap().older_forms()
    }

    #[test]
    fn lengths_are_counted_in_characters() {
        let check = |text: &str| PreparedPassword::new(text.to_owned());
        for good in [
            "12345678",
            "ääääääää",
            // Twice as many code points as characters.
            &"a\u{308}".repeat(256),
            &"x".repeat(256),
            &"🦀".repeat(256),
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "1234567",
            "äääääää",
            &"a\u{308}".repeat(7),
            &"x".repeat(257),
            &"🦀".repeat(257),
            &"x".repeat(100_000),
        ] {
            assert!(check(bad).is_err(), "{}", bad.len());
        }
    }

    #[test]
    fn the_beginning_is_judged() {
        for (text, chars) in [
            ("x".repeat(256), 32),
            ("\u{1F980}".repeat(33), 32),
            ("äöü".repeat(3), 9),
        ] {
            let prepared = PreparedPassword::new(text).ok().unwrap();
            assert_eq!(prepared.judged_part().chars().count(), chars);
            assert!(prepared.as_str().starts_with(prepared.judged_part()));
        }
    }

    #[test]
    fn one_text_is_one_password_however_it_is_written() {
        assert_eq!(prepared("cafe\u{301} au lait"), "caf\u{e9} au lait");
        assert_eq!(prepared("caf\u{e9}\u{a0}au\u{3000}lait"), "caf\u{e9} au lait");
        assert_eq!(prepared("\u{1112}\u{1161}\u{11ab}"), "\u{d55c}", "Hangul in parts");
        for different in ["Ａ", "A", "a", "ﬁ", "fi", "²", "2"] {
            assert_eq!(prepared(different), different, "{different} stays what it is");
        }
    }

    #[test]
    fn older_hashes_are_found_by_the_forms_of_before() {
        assert!(older("correct horse").is_empty());
        let (composed, decomposed) = ("caf\u{e9}", "cafe\u{301}");
        assert_eq!(older(composed), [decomposed], "set on a Mac, typed elsewhere");
        assert_eq!(older(decomposed), [decomposed]);
        assert_eq!(older("caf\u{e9}\u{a0}x"), ["caf\u{e9}\u{a0}x", "cafe\u{301} x"]);
        assert!(older("привет 秘密").is_empty(), "one form only");
    }
}
