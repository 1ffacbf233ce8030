//! The part of a message that shows why it was found, in pieces that are a hit or not. Pure.
//!
//! PostgreSQL marks what it has found. But it does so in `search_text` of the body, where everything
//! except letters and digits is a blank. So its marks (two control characters, which that text
//! cannot hold) are carried over to the body itself, word by word.
//!
//! The result is text in pieces and no markup. Nothing in a body can be taken for a mark, and
//! clients show the pieces like any other text.

use serde::Serialize;
use std::ops::Range;
use utoipa::ToSchema;

/// Where a hit begins and ends in what PostgreSQL returns; the same stand in the statement.
pub(super) const HIT_BEGINS: char = '\u{1}';
pub(super) const HIT_ENDS: char = '\u{2}';

/// Longest snippet, in characters, without the signs that something was left out.
const SNIPPET_CHARS_MAX: usize = 240;
/// How many of them may stand before the first hit.
const BEFORE_CHARS: usize = 60;
/// What stands where something was left out.
const LEFT_OUT: &str = "…";

/// A piece of a snippet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Fragment {
    /// The text as it stands in the message: not markup, whatever it looks like.
    pub text: String,
    /// Whether it is what was asked for.
    pub hit: bool,
}

/// The part of the body that shows most hits, given the marks of PostgreSQL.
pub(super) fn snippet(body: &str, marked: &str) -> Vec<Fragment> {
    let hits = hits_in(body, marked);
    let window = window(body, &hits);
    let mut fragments = Vec::new();
    let mut push = |text: &str, hit: bool| {
        if !text.is_empty() {
            let text = text.to_owned();
            fragments.push(Fragment { text, hit });
        }
    };
    if window.start > 0 {
        push(LEFT_OUT, false);
    }
    let mut at = window.start;
    for hit in hits {
        let (start, end) = (hit.start.clamp(at, window.end), hit.end.clamp(at, window.end));
        if start < end {
            push(&body[at..start], false);
            push(&body[start..end], true);
            at = end;
        }
    }
    push(&body[at..window.end], false);
    if window.end < body.len() {
        push(LEFT_OUT, false);
    }
    fragments
}

/// Where the hits are in the body, in bytes, ascending. What is marked is found again by its letters: the marked text has
/// those of the body in their order (maybe in lower case or apart, never others), with blanks between them.
fn hits_in(body: &str, marked: &str) -> Vec<Range<usize>> {
    let mut hits: Vec<Range<usize>> = Vec::new();
    let mut rest = body.char_indices();
    let mut within = None;
    for c in marked.chars() {
        match c {
            HIT_BEGINS => within = Some(None),
            HIT_ENDS => {
                if let Some(Some(hit)) = within.take() {
                    push_joined(&mut hits, hit);
                }
            }
            ' ' => {}
            letter => {
                let Some((at, found)) = rest.find(|(_, own)| *own == letter) else {
                    // Not the text of this body: what was found so far is right.
                    return hits;
                };
                if let Some(hit) = &mut within {
                    let start = hit.as_ref().map_or(at, |hit: &Range<usize>| hit.start);
                    *hit = Some(start..at + found.len_utf8());
                }
            }
        }
    }
    hits
}

/// Hits that touch are one: characters of a script without blanks.
fn push_joined(hits: &mut Vec<Range<usize>>, hit: Range<usize>) {
    match hits.last_mut() {
        Some(last) if last.end == hit.start => last.end = hit.end,
        _ => hits.push(hit),
    }
}

/// The part of the body to show: around the hit from which on most others are near.
fn window(body: &str, hits: &[Range<usize>]) -> Range<usize> {
    let room = SNIPPET_CHARS_MAX - BEFORE_CHARS;
    let mut best = (0, 0);
    let mut end = 0;
    for (n, hit) in hits.iter().enumerate() {
        let reach = ahead(body, hit.start, room);
        while hits.get(end).is_some_and(|hit| hit.end <= reach) {
            end += 1;
        }
        let near = end.saturating_sub(n);
        if near > best.0 || n == 0 {
            best = (near, hit.start);
        }
    }
    let from = behind(body, best.1, BEFORE_CHARS);
    let mut start = from;
    if from > 0 {
        // Not in the middle of a word, where there is another place.
        let part = &body[from..best.1];
        start += part
            .char_indices()
            .find(|(_, c)| c.is_whitespace())
            .map_or(0, |(at, c)| at + c.len_utf8());
    }
    start..ahead(body, start, SNIPPET_CHARS_MAX)
}

/// The place so many characters further on.
fn ahead(body: &str, from: usize, chars: usize) -> usize {
    body[from..]
        .char_indices()
        .nth(chars)
        .map_or(body.len(), |(at, _)| from + at)
}

/// The place so many characters back.
fn behind(body: &str, from: usize, chars: usize) -> usize {
    body[..from]
        .char_indices()
        .rev()
        .take(chars)
        .last()
        .map_or(from, |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// With hits in brackets.
    fn shown(body: &str, marked: &str) -> String {
        let marked = marked.replace('[', "\u{1}").replace(']', "\u{2}");
        let pieces = snippet(body, &marked);
        let show = |piece: &Fragment| match piece.hit {
            true => format!("[{}]", piece.text),
            false => piece.text.clone(),
        };
        pieces.iter().map(show).collect()
    }

    #[test]
    fn marks_are_carried_over_to_the_body() {
        for (body, marked, expected) in [
            ("Hello, world!", "[Hello]  [world] ", "[Hello], [world]!"),
            (
                "<script>hello</script>",
                " script [hello]  script ",
                "<script>[hello]</script>",
            ),
            ("東京タワー", " [東]  [京]  タ  ワ  ー ", "[東京]タワー"),
            ("a\u{1}b\u{2}a", "a [b] a", "a\u{1}[b]\u{2}a"),
            ("nothing", "nothing", "nothing"),
            ("hello", "other [text]", "hello"),
            ("", "[x]", ""),
        ] {
            assert_eq!(shown(body, marked), expected, "{body}");
        }
    }

    #[test]
    fn a_long_body_is_cut_around_its_hits() {
        let far = format!("{}needle {}", "hay ".repeat(200), "straw ".repeat(200));
        let marked = far.replace("needle", "[needle]");
        let text = shown(&far, &marked);
        assert!(text.starts_with("…hay ") && text.ends_with('…'), "{text}");
        assert!(
            text.contains("[needle]") && text.chars().count() <= SNIPPET_CHARS_MAX + 4,
            "{text}"
        );
        // One hit at the beginning, two near each other later.
        let body = format!("x {} x y x", "hay ".repeat(200));
        let text = shown(&body, &body.replace('x', "[x]"));
        assert!(text.starts_with('…') && text.ends_with("[x] y [x]"), "{text}");
        // A hit that is longer than a snippet.
        let long = "w".repeat(1_000);
        let text = shown(&long, &format!("[{long}]"));
        assert_eq!(text.chars().filter(|c| *c == 'w').count(), SNIPPET_CHARS_MAX);
    }

    proptest! {
        #[test]
        fn a_snippet_is_a_part_of_the_body(body in "\\PC{0,400}", marked in "[\u{1}\u{2} a-z]{0,200}") {
            let pieces = snippet(&body, &marked);
            let text: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
            let inner = text.trim_start_matches('…').trim_end_matches('…');
            prop_assert!(body.contains(inner));
            prop_assert!(text.chars().count() <= SNIPPET_CHARS_MAX + 2);
        }

        #[test]
        fn hits_are_found_whatever_stands_between(words in prop::collection::vec("[a-z]{1,8}", 1..20), at in 0_usize..20) {
            let at = at % words.len();
            let body = words.join("</b> ");
            let marked: Vec<_> = words.iter().enumerate().map(|(n, word)| match n == at {
                true => format!("\u{1}{word}\u{2}"),
                false => word.clone(),
            }).collect();
            // Tags are words too where they are text.
            let marked = marked.join("  b  ");
            let hits: Vec<_> = hits_in(&body, &marked);
            prop_assert_eq!(hits.len(), 1);
            prop_assert_eq!(&body[hits[0].clone()], words[at].as_str());
        }
    }
}
