//! What a word is: the words of a text, folded so that what reads alike is found alike. Pure.
//!
//! Used for messages when they are indexed, and for queries. Both must take the same road, so there
//! is one.
//!
//! - A word is a run of letters, digits and the marks on them, of any script. All else separates.
//! - In scripts that are written without blanks (Chinese, Japanese, Thai, Lao, Burmese, Khmer) each
//!   character is a word.
//! - Folding: compatibility forms (NFKC: `ﬁ`, full width), case (`ß` is `ss`, a final sigma is a
//!   sigma), and the marks on Latin, Greek, Cyrillic, Hebrew and Arabic letters (`é` is `e`). Marks
//!   of other scripts are vowels, and stay. Letters that only look like a letter with a mark (`ø`,
//!   `ł`) are in a small table, after the rules of the `unaccent` dictionary of PostgreSQL.
//!
//! Bound: a text of n bytes has at most n words. A word is compared whole, however long it is; the
//! index keeps its first [`INDEXED_BYTES_MAX`] bytes.
//!
//! Why not PostgreSQL's parser: it numbers words only up to 16,383 and keeps 256 places of each, so
//! phrases late in a long text are missed; and it does not fold forms and accents.

use std::ops::Range;
use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// How much of a folded word is in the index. A tsvector takes words of up to 2,046 bytes.
pub(super) const INDEXED_BYTES_MAX: usize = 240;

/// A word of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// Folded.
    pub(super) folded: String,
    /// Where it stands in the text, in bytes.
    pub(super) place: Range<usize>,
}

/// The words of a text, in order.
pub(super) fn words(text: &str) -> Vec<Word> {
    let mut found = Vec::new();
    for_each_word(text, |folded, place| {
        found.push(Word {
            folded: folded.to_owned(),
            place,
        });
    });
    found
}

/// What the index keeps of a folded word.
pub(super) fn indexed_part(word: &str) -> &str {
    let mut end = word.len().min(INDEXED_BYTES_MAX);
    while !word.is_char_boundary(end) {
        end -= 1;
    }
    &word[..end]
}

/// Calls `take` with each folded word of a text and its place, in order.
pub(super) fn for_each_word(text: &str, mut take: impl FnMut(&str, Range<usize>)) {
    let mut word = String::new();
    let mut start = 0;
    let mut end = 0;
    let mut flush = |word: &mut String, place: Range<usize>| {
        if !word.is_empty() {
            if !word.is_ascii() {
                // Marks in one order, however they were typed.
                *word = word.nfkd().collect();
            }
            take(word, place);
            word.clear();
        }
    };
    // Whether the word is a character of a script without blanks: only marks may follow.
    let mut is_alone = false;
    for (at, c) in text.char_indices() {
        let next = at + c.len_utf8();
        if !c.is_ascii() && is_mark(c) {
            // On whatever stands before it; alone it is nothing.
            if at == end && !word.is_empty() {
                fold(c, &mut word);
                end = next;
            }
            continue;
        }
        let is_by_itself = !c.is_ascii() && is_word_by_itself(c);
        let is_letter = c.is_alphanumeric();
        if is_alone || is_by_itself || !is_letter {
            flush(&mut word, start..end);
        }
        is_alone = is_by_itself;
        if is_letter {
            if word.is_empty() {
                start = at;
            }
            if c.is_ascii() {
                word.push(c.to_ascii_lowercase());
            } else {
                fold(c, &mut word);
            }
            end = next;
        }
    }
    flush(&mut word, start..end);
}

/// Adds a character to a word, folded.
fn fold(c: char, word: &mut String) {
    for c in std::iter::once(c).nfkd().flat_map(char::to_lowercase).nfkd() {
        match c {
            c if is_accent(c) => {}
            'ß' => word.push_str("ss"),
            'ς' => word.push('σ'),
            'ø' => word.push('o'),
            'đ' | 'ð' => word.push('d'),
            'ħ' => word.push('h'),
            'ı' => word.push('i'),
            'ł' => word.push('l'),
            'ŧ' => word.push('t'),
            'æ' => word.push_str("ae"),
            'œ' => word.push_str("oe"),
            'þ' => word.push_str("th"),
            // What a compatibility form may become besides: "½" is "1⁄2", "㏂" is "a.m.".
            c if c.is_alphanumeric() || is_combining_mark(c) => word.push(c),
            _ => {}
        }
    }
}

/// Marks that people leave out when they type: those on Latin, Greek and Cyrillic letters, and the
/// points of Hebrew and Arabic.
const fn is_accent(c: char) -> bool {
    matches!(c,
        '\u{0300}'..='\u{036F}' | '\u{0483}'..='\u{0487}' | '\u{0591}'..='\u{05BD}' | '\u{05BF}'..='\u{05C7}'
        | '\u{0610}'..='\u{061A}' | '\u{0640}' | '\u{064B}'..='\u{065F}' | '\u{0670}' | '\u{1AB0}'..='\u{1AFF}'
        | '\u{1DC0}'..='\u{1DFF}' | '\u{20D0}'..='\u{20FF}' | '\u{FE20}'..='\u{FE2F}')
}

/// What belongs to the letter before it. The half-width voicing marks of Japanese are letters by
/// their category.
fn is_mark(c: char) -> bool {
    is_combining_mark(c) || matches!(c, '\u{FF9E}' | '\u{FF9F}')
}

/// The letters of scripts that are written without blanks.
pub(super) fn is_word_by_itself(c: char) -> bool {
    let is_of_such_a_script = matches!(c,
        '\u{0E01}'..='\u{0EFF}' | '\u{1000}'..='\u{109F}' | '\u{1780}'..='\u{17FF}' | '\u{3005}'..='\u{3007}'
        | '\u{3031}'..='\u{30FF}' | '\u{31F0}'..='\u{31FF}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}'
        | '\u{F900}'..='\u{FAFF}' | '\u{FF66}'..='\u{FF9D}' | '\u{20000}'..='\u{3FFFF}');
    is_of_such_a_script && c.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn folded(text: &str) -> Vec<String> {
        words(text).into_iter().map(|word| word.folded).collect()
    }

    #[test]
    fn what_reads_alike_is_alike() {
        for (one, other) in [
            ("café", "cafe"),
            ("cafe\u{301}", "cafe"),
            ("CAFÉ", "cafe"),
            ("ﬁre", "fire"),
            ("ｆｕｌｌ１２", "full12"),
            ("Straße", "strasse"),
            ("STRASSE", "straße"),
            ("ΟΔΟΣ", "οδος"),
            ("οδός", "οδοσ"),
            ("İstanbul", "istanbul"),
            ("Łódź", "lodz"),
            ("Ærø", "aero"),
            ("привёт", "ПРИВЕТ"),
            ("שָׁלוֹם", "שלום"),
            ("مُحَمَّد", "محمد"),
            ("ｶﾞ", "ガ"),
            ("한국", "\u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8}"),
            ("x²", "x2"),
        ] {
            let (one, other) = (folded(one), folded(other));
            assert_eq!(one, other);
            assert!(!one.is_empty());
        }
        // A vowel is no accent.
        assert_ne!(folded("कि"), folded("का"));
        assert_ne!(folded("か"), folded("が"));
    }

    #[test]
    fn what_separates() {
        for (text, expected) in [
            ("a quick, brown-fox", &["a", "quick", "brown", "fox"][..]),
            ("“quoted” words😀emoji", &["quoted", "words", "emoji"]),
            ("it's v1.2.3", &["it", "s", "v1", "2", "3"]),
            ("mail@example.net", &["mail", "example", "net"]),
            ("東京x", &["東", "京", "x"]),
            ("x東", &["x", "東"]),
            ("ヅa", &["ツ\u{3099}", "a"]),
            ("snake_case", &["snake", "case"]),
            ("\u{301} \u{301}a", &["a"]),
            ("", &[]),
            ("!? \u{1}\u{2}", &[]),
        ] {
            assert_eq!(folded(text), expected, "{text:?}");
        }
    }

    #[test]
    fn places_are_those_of_the_text() {
        let text = "Cafe\u{301} ﬁre, 東が";
        let found: Vec<_> = words(text).into_iter().map(|word| &text[word.place]).collect();
        assert_eq!(found, ["Cafe\u{301}", "ﬁre", "東", "が"]);
    }

    proptest! {
        /// The form in which a text is typed does not matter, and a word is a word of itself.
        #[test]
        fn forms_do_not_matter(text in "\\PC{0,40}") {
            let composed: String = text.nfc().collect();
            let apart: String = text.nfd().collect();
            prop_assert_eq!(folded(&composed), folded(&apart));
            let mut last = 0;
            for word in words(&text) {
                prop_assert!(word.place.start >= last && word.place.end > word.place.start);
                last = word.place.end;
                prop_assert!(text.get(word.place.clone()).is_some());
                if word.folded.chars().count() == 1 || word.folded.is_ascii() {
                    prop_assert_eq!(folded(&word.folded), vec![word.folded.clone()]);
                }
            }
        }
    }
}
