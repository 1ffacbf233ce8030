//! The part of a message that shows why it was found, in pieces that are a hit or not. Pure.
//!
//! The result is text in pieces and no markup. Nothing in a body can be taken for a mark, and
//! clients show the pieces like any other text.

use serde::Serialize;
use std::ops::Range;
use utoipa::ToSchema;

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

/// The part of the body that shows most hits. They are in bytes, ascending, and do not touch.
pub(super) fn snippet(body: &str, hits: &[Range<usize>]) -> Vec<Fragment> {
    let window = window(body, hits);
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

    /// The snippet of a body in which hits stand in brackets, written in the same way.
    fn shown(marked: &str) -> String {
        let (mut body, mut hits, mut start) = (String::new(), Vec::new(), 0);
        for c in marked.chars() {
            match c {
                '[' => start = body.len(),
                ']' => hits.push(start..body.len()),
                c => body.push(c),
            }
        }
        let show = |piece: &Fragment| match piece.hit {
            true => format!("[{}]", piece.text),
            false => piece.text.clone(),
        };
        snippet(&body, &hits).iter().map(show).collect()
    }

    #[test]
    fn a_short_body_is_shown_whole() {
        for marked in [
            "[Hello], [world]!",
            "<script>[hello]</script>",
            "[東京]タワー",
            "nothing",
            "",
        ] {
            assert_eq!(shown(marked), marked);
        }
    }

    #[test]
    fn a_long_body_is_cut_around_its_hits() {
        let text = shown(&format!("{}[needle] {}", "hay ".repeat(200), "straw ".repeat(200)));
        assert!(text.starts_with("…hay ") && text.ends_with('…'), "{text}");
        assert!(
            text.contains("[needle]") && text.chars().count() <= SNIPPET_CHARS_MAX + 4,
            "{text}"
        );
        // One hit at the beginning, two near each other later.
        let text = shown(&format!("[x] {} [x] y [x]", "hay ".repeat(200)));
        assert!(text.starts_with('…') && text.ends_with("[x] y [x]"), "{text}");
        // A hit that is longer than a snippet.
        let text = shown(&format!("[{}]", "w".repeat(1_000)));
        assert_eq!(text.chars().filter(|c| *c == 'w').count(), SNIPPET_CHARS_MAX);
    }

    proptest! {
        #[test]
        fn a_snippet_is_a_part_of_the_body(body in "\\PC{0,400}", q in "[a-z]{1,2}") {
            let hits = super::super::query::Query::parse(&q).hits(&body).unwrap_or_default();
            let pieces = snippet(&body, &hits);
            let text: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
            let inner = text.trim_start_matches('…').trim_end_matches('…');
            prop_assert!(body.contains(inner));
            prop_assert!(text.chars().count() <= SNIPPET_CHARS_MAX + 2);
        }
    }
}
