//! What is said in a demo: short sentences put together from parts, so that searching finds
//! something. Pure.

use rand::RngExt as _;
use rand::rngs::Xoshiro256PlusPlus;

const OPENINGS: [&str; 22] = [
    "",
    "",
    "",
    "",
    "Hi all, ",
    "Quick note: ",
    "Morning! ",
    "FYI, ",
    "So, ",
    "Agreed, ",
    "Good point. ",
    "Hm, ",
    "Thanks! ",
    "Update: ",
    "Question: ",
    "Sorry for the delay, ",
    "Does anybody know: ",
    "Just saw that ",
    "I think ",
    "Reminder: ",
    "Great news: ",
    "One more thing: ",
];
const SUBJECTS: [&str; 30] = [
    "the build",
    "the release",
    "the invoice run",
    "the new dashboard",
    "the customer in Oslo",
    "the test suite",
    "the search index",
    "the onboarding page",
    "the migration",
    "the draft",
    "the contract",
    "the staging cluster",
    "the mobile app",
    "the report for March",
    "the login page",
    "the budget",
    "the naïve first version",
    "the backup",
    "the café booking",
    "the workshop",
    "the review",
    "the roadmap",
    "the ticket queue",
    "the survey",
    "the export",
    "the coffee machine",
    "the meeting room",
    "the translation",
    "the certificate",
    "the team lunch",
];
const VERBS: [&str; 24] = [
    "is green again",
    "is ready for review",
    "failed twice last night",
    "needs another pair of eyes",
    "looks much better now",
    "is blocked until Thursday",
    "went out this morning",
    "took longer than expected",
    "is on my list for tomorrow",
    "has a small glitch on phones",
    "is done",
    "should wait for legal",
    "is faster by a third",
    "moved to next week",
    "was approved",
    "is missing two numbers",
    "is live",
    "got a lot of praise",
    "is waiting for an answer",
    "ran out of disk",
    "needs a decision",
    "is back to normal",
    "will be demoed on Friday",
    "is being rolled out slowly",
];
const ENDINGS: [&str; 18] = [
    ".",
    ".",
    ".",
    ".",
    "!",
    "?",
    " 🎉",
    " 👍",
    " – thoughts?",
    ", right?",
    " (see the notes).",
    ". Can you have a look?",
    ". I will write it up.",
    ". No rush.",
    ". Let us talk after lunch.",
    " ☕",
    ". Shall we?",
    ". Details follow.",
];
const SHORT: [&str; 20] = [
    "👍",
    "ok",
    "Thanks!",
    "On it.",
    "Done.",
    "Yes, please.",
    "Not today, sorry.",
    "lol",
    "+1",
    "Sounds good.",
    "Wow, nice!",
    "Same here.",
    "Brilliant.",
    "Merci !",
    "Danke dir",
    "ありがとう",
    "¡Perfecto!",
    "tack!",
    "Will do.",
    "Let me check.",
];
const REPORTS: [&str; 6] = [
    "Build finished",
    "Nightly checks",
    "Deployment",
    "Error budget",
    "Backup",
    "Daily digest",
];
pub(super) const EMOJI: [&str; 10] = ["👍", "🎉", "❤️", "😂", "👀", "🚀", "✅", "🙏", "🤔", "💯"];

/// A message of a person.
pub(super) fn of_person(rng: &mut Xoshiro256PlusPlus) -> String {
    if rng.random_bool(0.22) {
        return pick(&SHORT, rng).to_owned();
    }
    let mut text = String::with_capacity(96);
    let sentences = 1 + super::rhythm::geometric(0.28, 6, rng);
    for n in 0..sentences {
        if n > 0 {
            text.push(if rng.random_bool(0.1) { '\n' } else { ' ' });
        }
        for part in [
            pick(&OPENINGS, rng),
            pick(&SUBJECTS, rng),
            " ",
            pick(&VERBS, rng),
            pick(&ENDINGS, rng),
        ] {
            text.push_str(part);
        }
    }
    text
}

/// A message of an agent.
pub(super) fn of_agent(rng: &mut Xoshiro256PlusPlus) -> String {
    let (ok, of) = (rng.random_range(180..240), 240);
    format!(
        "{}: {ok} of {of} passed in {} s.",
        pick(&REPORTS, rng),
        rng.random_range(12..900)
    )
}

fn pick(from: &[&'static str], rng: &mut Xoshiro256PlusPlus) -> &'static str {
    from.get(rng.random_range(0..from.len())).copied().unwrap_or_default()
}
