//! Prepares what someone typed for `search_query` of PostgreSQL. Pure.
//!
//! PostgreSQL reads the query itself (`websearch_to_tsquery`): words, `"phrases"`, `or`, `-without`.
//! Any text is a query. Two things are changed before:
//!
//! - A hyphen excludes only before a word. Within a word or between quotes it is a separator, as it
//!   is in messages.
//! - A word of a script without blanks becomes a phrase, because each of its characters is a word of
//!   its own in the index (migration V0003). `東京` finds the two beside each other.

use std::iter::Peekable;
use std::str::Chars;

/// Longest query, in bytes.
pub const QUERY_BYTES_MAX: usize = 256;

/// The query for PostgreSQL.
pub(super) fn prepare(typed: &str) -> String {
    let mut prepared = String::with_capacity(typed.len() + 8);
    let mut rest = typed.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' => phrase(&mut rest, &mut prepared),
            c if is_blank(c) => prepared.push(' '),
            '-' => {
                while rest.next_if_eq(&'-').is_some() {}
                let excludes = rest.peek().is_some_and(|next| !is_blank(*next));
                prepared.push(if excludes { '-' } else { ' ' });
            }
            first => word(first, &mut rest, &mut prepared),
        }
    }
    prepared
}

/// What stands between quotes; the closing one may be missing.
fn phrase(rest: &mut Peekable<Chars<'_>>, prepared: &mut String) {
    prepared.push('"');
    for c in rest.by_ref() {
        match c {
            '"' => break,
            '-' => prepared.push(' '),
            c if is_blank(c) => prepared.push(' '),
            c => prepared.push(c),
        }
    }
    prepared.push('"');
}

/// A word up to a blank or a quote.
fn word(first: char, rest: &mut Peekable<Chars<'_>>, prepared: &mut String) {
    let mut word = String::from(first);
    while let Some(c) = rest.next_if(|c| *c != '"' && !is_blank(*c)) {
        word.push(if c == '-' { ' ' } else { c });
    }
    if word.chars().any(is_word_by_itself) {
        prepared.push('"');
        prepared.push_str(&word);
        prepared.push('"');
    } else {
        prepared.push_str(&word);
    }
}

/// White space; and NUL, which no message has and PostgreSQL takes in no text.
const fn is_blank(c: char) -> bool {
    c.is_whitespace() || c == '\0'
}

/// The scripts that `search_words` of the migration takes apart.
const fn is_word_by_itself(c: char) -> bool {
    matches!(c,
        '\u{0E01}'..='\u{0EFF}' | '\u{1000}'..='\u{109F}' | '\u{1780}'..='\u{17FF}' | '\u{3040}'..='\u{30FF}'
        | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn operators_stay_and_the_rest_is_plain() {
        for (typed, prepared) in [
            ("harbour dawn", "harbour dawn"),
            ("harbour -dawn", "harbour -dawn"),
            ("-dawn", "-dawn"),
            ("--dawn -", "-dawn  "),
            ("well-known", "well known"),
            ("\"well-known -5\" x", "\"well known  5\" x"),
            ("-\"of dawn\"", "-\"of dawn\""),
            ("open \"quote", "open \"quote\""),
            ("東京 -京都 x東", "\"東京\" -\"京都\" \"x東\""),
            ("\"東京\"", "\"東京\""),
            ("a\0b\tc", "a b c"),
            ("", ""),
        ] {
            assert_eq!(prepare(typed), prepared, "{typed:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_query(typed in "\\PC{0,80}|[-\" a東\0]{0,80}") {
            let prepared = prepare(&typed);
            prop_assert!(!prepared.contains('\0'));
            prop_assert_eq!(prepared.matches('"').count() % 2, 0);
            prop_assert!(prepared.len() <= 4 * typed.len() + 2);
        }
    }
}
