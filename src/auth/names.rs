//! What people, workspaces, conversations and keys may be called. Pure.
//!
//! Used wherever a name or title is taken from a client. A name is shown between other words: in a
//! list, above a message, in a notification. So it has something to see, stays on its line, and
//! does not turn the words around it: a direction that is switched inside a name goes on behind it.
//!
//! Marks of direction (U+200E, U+200F, U+061C) and joiners are allowed: names in Arabic, Hebrew and
//! Persian need them, and they change nothing around them.

use super::error::Error;
use crate::wire::limits;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};

/// The name of a user, tenant, conversation or key as it is kept: without surrounding white space.
///
/// # Errors
/// [`Error::Invalid`] if it has nothing to see, is longer than 200 bytes, or holds control
/// characters, line breaks or changes of direction.
pub fn check_name<'a>(field: &'static str, name: &'a str) -> Result<&'a str, Error> {
    let name = name.trim();
    if name.is_empty() || name.len() > limits::NAME_BYTES_MAX {
        return Err(Error::invalid(
            field,
            format!("1 to {} bytes are needed here.", limits::NAME_BYTES_MAX),
        ));
    }
    let breaks_line = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    if name.contains(breaks_line) {
        return Err(Error::invalid(field, "Control characters do not belong here."));
    }
    if name.contains(turns_text) {
        return Err(Error::invalid(
            field,
            "Characters that change the direction of writing do not belong here.",
        ));
    }
    if !name.contains(is_visible) {
        return Err(Error::invalid(field, "Something that can be seen is needed here."));
    }
    Ok(name)
}

/// Embeddings, overrides and isolates, with their ends.
const fn turns_text(c: char) -> bool {
    matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Whether a character shows something by itself. What Unicode has not assigned yet may be an emoji
/// of next year.
fn is_visible(c: char) -> bool {
    use GeneralCategory as Category;
    // Letters and a symbol by their category, and blank all the same: fillers of Hangul, and the
    // Braille pattern without dots.
    let is_blank = matches!(c, '\u{115F}' | '\u{1160}' | '\u{3164}' | '\u{FFA0}' | '\u{2800}');
    let is_hidden = matches!(
        c.general_category(),
        Category::SpaceSeparator
            | Category::LineSeparator
            | Category::ParagraphSeparator
            | Category::Control
            | Category::Format
            | Category::NonspacingMark
            | Category::EnclosingMark
    );
    !is_blank && !is_hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_and_bounded() {
        assert_eq!(check_name("name", "  Ann Lee ").unwrap(), "Ann Lee");
        assert!(check_name("name", &"x".repeat(200)).is_ok());
        for bad in [
            "",
            " \u{2003} ",
            "a\0b",
            "a\nb",
            "a\u{2028}b",
            "a\u{85}b",
            &"x".repeat(201),
        ] {
            assert!(check_name("name", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn there_is_something_to_see() {
        for good in [
            "x",
            "李",
            "❤\u{fe0f}",
            "👩\u{200d}🚀",
            "🏴\u{e0067}\u{e0062}\u{e007f}",
            "می\u{200c}خواهم",
            "שלום\u{200f}!",
            "e\u{301}",
            "1\u{fe0f}\u{20e3}",
            "_",
        ] {
            assert_eq!(check_name("name", good).unwrap(), good);
        }
        for bad in [
            "\u{200b}",
            "\u{200b}\u{200d}\u{feff}",
            "\u{2060}\u{ad}",
            "\u{3164}",
            "\u{115f}\u{1160}",
            "\u{2800} \u{2800}",
            "\u{301}",
            "\u{fe0f}",
            "\u{e0041}",
            "\u{200e}\u{200f}",
            "\u{34f}",
        ] {
            assert!(check_name("name", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_does_not_turn_what_stands_behind_it() {
        for turning in [
            '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}', '\u{2066}', '\u{2069}',
        ] {
            assert!(
                check_name("title", &format!("ann{turning}gpj.exe")).is_err(),
                "{turning:?}"
            );
        }
    }
}
