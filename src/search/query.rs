//! What somebody asks for, parsed. Pure.
//!
//! Any text is a query: words, `"phrases"`, `or`, `-without`, as on the web.
//!
//! - All words have to be there, in any order. `or` stands between alternatives, and binds less
//!   than standing side by side.
//! - What is typed as one, but is several words (`well-known`, `v1.2.3`, `東京`), is a phrase.
//! - The last word also matches the beginnings of words, unless it stands in quotes or is excluded.
//! - A query in which some alternative asks for no word finds nothing: it would find nearly
//!   everything.
//!
//! A phrase is not in the index. [`Query::candidates`] says what to look up: the messages that have
//! all its words. [`Query::hits`] then judges a message by its text.

use super::slices::SliceKey;
use super::words::{INDEXED_BYTES_MAX, Word, indexed_part, words};
use std::ops::Range;

/// Longest query, in bytes.
pub const QUERY_BYTES_MAX: usize = 256;

/// A query. It has at least one alternative, unless it asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    alternatives: Vec<Alternative>,
}

/// What has to be there, and what must not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Alternative {
    wanted: Vec<Term>,
    excluded: Vec<Term>,
}

/// One word, or several that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    /// Folded; not empty.
    words: Vec<String>,
    /// Whether the last of them may be only the beginning of a word.
    is_prefix: bool,
}

/// A piece of what was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece<'a> {
    text: &'a str,
    is_quoted: bool,
    is_excluded: bool,
}

impl Query {
    pub(super) fn parse(typed: &str) -> Self {
        let pieces = pieces(typed);
        let last = pieces.len().saturating_sub(1);
        let mut alternatives = vec![Alternative::default()];
        for (n, piece) in pieces.iter().enumerate() {
            let is_plain = !piece.is_quoted && !piece.is_excluded;
            // Between two others it is the operator; at an end, a word like any other.
            if is_plain && piece.text.eq_ignore_ascii_case("or") && n > 0 && n < last {
                alternatives.push(Alternative::default());
                continue;
            }
            let words: Vec<String> = words(piece.text).into_iter().map(|word| word.folded).collect();
            let Some(alternative) = alternatives.last_mut().filter(|_| !words.is_empty()) else {
                continue;
            };
            let term = Term {
                words,
                is_prefix: is_plain && n == last,
            };
            match piece.is_excluded {
                true => alternative.excluded.push(term),
                false => alternative.wanted.push(term),
            }
        }
        // `a or or b`, `a or !`: an alternative without any word is none.
        alternatives.retain(|one| !one.wanted.is_empty() || !one.excluded.is_empty());
        if alternatives.iter().any(|one| one.wanted.is_empty()) {
            alternatives.clear();
        }
        Self { alternatives }
    }

    /// Whether no word is asked for.
    pub(super) fn is_empty(&self) -> bool {
        self.alternatives.is_empty()
    }

    /// Whether every candidate is a hit, as long as the index is up to date.
    pub(super) fn is_exact(&self) -> bool {
        // A longer word of a message may have been cut to what this one is.
        let of_one_word = |term: &Term| term.words.len() == 1 && term.words[0].len() + 4 <= INDEXED_BYTES_MAX;
        self.alternatives
            .iter()
            .all(|one| one.wanted.iter().chain(&one.excluded).all(of_one_word))
    }

    /// The tsquery, as text, that finds the candidates in a slice: every hit, and maybe more.
    pub(super) fn candidates(&self, slice: SliceKey) -> String {
        let mut query = String::new();
        for (n, alternative) in self.alternatives.iter().enumerate() {
            query.push_str(if n == 0 { "(" } else { "|(" });
            let mut separator = "";
            for term in &alternative.wanted {
                let last = term.words.len() - 1;
                for (n, word) in term.words.iter().enumerate() {
                    query.push_str(separator);
                    lexeme(&mut query, slice, word, term.is_prefix && n == last);
                    separator = "&";
                }
            }
            // What is excluded as a phrase may be there as words.
            for term in &alternative.excluded {
                if let [word] = &*term.words
                    && word.len() + 4 <= INDEXED_BYTES_MAX
                {
                    query.push_str("&!");
                    lexeme(&mut query, slice, word, false);
                }
            }
            query.push(')');
        }
        query
    }

    /// Where the hits are in a text, in bytes, ascending, joined where they touch. `None` when the
    /// text is not what is asked for.
    pub(super) fn hits(&self, text: &str) -> Option<Vec<Range<usize>>> {
        let text = words(text);
        let mut hits: Vec<Range<usize>> = Vec::new();
        let mut is_found = false;
        for alternative in &self.alternatives {
            if alternative.excluded.iter().any(|term| term.is_in(&text)) {
                continue;
            }
            let of_terms: Option<Vec<_>> = alternative.wanted.iter().map(|term| term.places(&text)).collect();
            if let Some(of_terms) = of_terms {
                is_found = true;
                hits.extend(of_terms.into_iter().flatten());
            }
        }
        is_found.then(|| joined(hits))
    }
}

impl Term {
    fn is_in(&self, text: &[Word]) -> bool {
        text.windows(self.words.len()).any(|part| self.is(part))
    }

    /// The words of the text that it is; `None` when it is not there.
    fn places(&self, text: &[Word]) -> Option<Vec<Range<usize>>> {
        let parts = text.windows(self.words.len()).filter(|part| self.is(part));
        let places: Vec<_> = parts.flatten().map(|word| word.place.clone()).collect();
        (!places.is_empty()).then_some(places)
    }

    fn is(&self, part: &[Word]) -> bool {
        let last = self.words.len() - 1;
        part.iter().zip(&self.words).enumerate().all(|(n, (word, own))| {
            word.folded == *own || (self.is_prefix && n == last && word.folded.starts_with(own.as_str()))
        })
    }
}

/// A word of the index, as a tsquery writes it.
fn lexeme(query: &mut String, slice: SliceKey, word: &str, is_prefix: bool) {
    let indexed = indexed_part(word);
    // Words have no quotes and no backslashes: only letters, digits and marks.
    query.push('\'');
    query.push_str(slice.as_str());
    query.push_str(indexed);
    query.push('\'');
    if is_prefix && indexed.len() == word.len() {
        query.push_str(":*");
    }
}

/// Ascending, and one where they touch: characters of a script without blanks.
fn joined(mut places: Vec<Range<usize>>) -> Vec<Range<usize>> {
    places.sort_unstable_by_key(|place| (place.start, place.end));
    let mut all: Vec<Range<usize>> = Vec::with_capacity(places.len());
    for place in places {
        match all.last_mut() {
            Some(last) if last.end >= place.start => last.end = last.end.max(place.end),
            _ => all.push(place),
        }
    }
    all
}

/// Takes apart what was typed: by white space, and by quotes, of which the last may be missing. A
/// hyphen excludes only where a piece begins.
fn pieces(typed: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = typed;
    loop {
        rest = rest.trim_start_matches(is_blank);
        let bare = rest.trim_start_matches('-');
        let is_excluded = bare.len() < rest.len();
        rest = bare;
        let Some(first) = rest.chars().next() else {
            return pieces;
        };
        if is_blank(first) {
            continue;
        }
        let is_quoted = first == '"';
        let (text, after) = if is_quoted {
            rest[1..].split_once('"').unwrap_or((&rest[1..], ""))
        } else {
            rest.split_at(rest.find(|c| c == '"' || is_blank(c)).unwrap_or(rest.len()))
        };
        pieces.push(Piece {
            text,
            is_quoted,
            is_excluded,
        });
        rest = after;
    }
}

/// White space; and NUL, which no message has.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || c == '\0'
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ConversationId;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn slice() -> SliceKey {
        SliceKey::of(ConversationId(Uuid::from_u128(7)), 0)
    }

    /// With the key of the slice left out.
    fn candidates(typed: &str) -> String {
        Query::parse(typed).candidates(slice()).replace(slice().as_str(), "")
    }

    #[test]
    fn what_is_looked_up() {
        for (typed, expected) in [
            ("harbour dawn", "('harbour'&'dawn':*)"),
            ("\"harbour dawn\"", "('harbour'&'dawn')"),
            ("harbour -dawn", "('harbour'&!'dawn')"),
            ("-dawn harbour", "('harbour':*&!'dawn')"),
            ("harbour --dawn -", "('harbour'&!'dawn')"),
            ("harbour -\"of dawn\"", "('harbour')"),
            ("a or b c or d", "('a')|('b'&'c')|('d':*)"),
            ("a OR b", "('a')|('b':*)"),
            ("or", "('or':*)"),
            ("a or", "('a'&'or':*)"),
            ("well-known", "('well'&'known':*)"),
            ("Café ﬁre", "('cafe'&'fire':*)"),
            ("open \"quote", "('open'&'quote')"),
            ("東京 -京都", "('東'&'京')"),
            ("a\0b", "('a'&'b':*)"),
            ("'\\:*&|!()<-> x", "('x':*)"),
            ("-red", ""),
            ("red or -blue", ""),
            ("!!! ... \"\" -", ""),
            ("", ""),
        ] {
            assert_eq!(candidates(typed), expected, "{typed:?}");
        }
    }

    #[test]
    fn what_a_text_has() {
        let long = format!("{} needle", "東京 ".repeat(5_000));
        for (typed, text, expected) in [
            ("harbour", "The Harbour is closed", Some(&["Harbour"][..])),
            ("harb", "The Harbour is closed", Some(&["Harbour"])),
            ("harb is", "The Harbour is closed", None),
            ("\"harb\"", "The Harbour is closed", None),
            (
                "\"is closed\" harb",
                "The Harbour is closed",
                Some(&["Harbour", "is", "closed"]),
            ),
            ("\"closed is\"", "The Harbour is closed", None),
            ("harbour -closed", "The Harbour is closed", None),
            (
                "harbour -\"closed is\" harbour",
                "The Harbour is closed",
                Some(&["Harbour"]),
            ),
            ("dawn or harbour", "The Harbour is closed", Some(&["Harbour"])),
            ("東京", "住在東京，很好", Some(&["東京"])),
            ("京東", "住在東京，很好", None),
            ("cafe", "Un café", Some(&["café"])),
            ("needle", &long, Some(&["needle"])),
            ("\"京 needle\"", &long, Some(&["京", "needle"])),
        ] {
            let hits = Query::parse(typed).hits(text);
            let found: Option<Vec<&str>> = hits.map(|hits| hits.into_iter().map(|hit| &text[hit]).collect());
            assert_eq!(found.as_deref(), expected, "{typed:?}");
        }
    }

    #[test]
    fn a_phrase_has_to_be_judged_by_the_text() {
        for (typed, is_exact) in [
            ("harbour -dawn", true),
            ("harb", true),
            ("\"a b\"", false),
            ("a -\"b c\"", false),
            ("東京", false),
            (&"x".repeat(250), false),
        ] {
            assert_eq!(Query::parse(typed).is_exact(), is_exact, "{typed}");
        }
    }

    proptest! {
        /// Any text is a query, and what was typed as one piece is found where it stands.
        #[test]
        fn any_text_is_a_query(typed in "\\PC{0,80}|[-\" aor東\0']{0,80}") {
            let query = Query::parse(&typed);
            let text = query.candidates(slice());
            prop_assert!(!text.contains(['\0', '\\', '"']));
            prop_assert_eq!(text.matches('\'').count() % 2, 0);
            let bare: String = typed.chars().filter(|c| *c != '"' && *c != '-').collect();
            let query = Query::parse(&format!("\"{bare}\""));
            let text = format!("x {bare}, y");
            prop_assert!(query.is_empty() || query.hits(&text).is_some());
        }
    }
}
