//! The settings as documents: `docs/configuration.md` and `.env.example`.
//!
//! Both are made from the walk over the settings, and compared with the files in the repository by
//! `tests/it/configuration.rs`. `parlance config --markdown` and `parlance config --example` print
//! them.

use super::root::Config;
use super::walk::{SettingEntry, SettingsWalk};

/// Longest line of text, in characters.
const LINE_CHARS_MAX: usize = 100;

const MARKDOWN_HEAD: &str = "\
# Configuration

<!-- Made by `parlance config --markdown` from the sections in `src/config/`. -->

Every setting has a default: without any, one node runs with a private PostgreSQL in `./data`.

- Settings come from the environment, or from a `.env` file. The environment wins.
- `.env.example` lists them all.
- A time is a number of seconds, or a number with a unit: `ms`, `s`, `m`, `h` or `d`.
- An empty value counts as not set.
- `parlance config` prints what will be used. Secrets are masked.
- The server does not start with a mistake. It reports all mistakes at once. An unknown `PARLANCE_…`
  name is a mistake too.
- A secret may be in a file: `JWT_SECRET_FILE=/run/secrets/jwt_secret` instead of `JWT_SECRET=…`.
  The line break at the end of the file does not count. To set both is a mistake.

";

const MARKDOWN_FOOT: &str = "
## Where to read on

- [Your own PostgreSQL](operations.md#postgresql), [a read replica](operations.md#read-replica) and
  [Redis](operations.md#redis): what they must offer, and what they are for.
- [Proxies](operations.md#proxies): what `TRUSTED_PROXIES` has to name.
- [Kernel and descriptors](operations.md#kernel-and-descriptors): how many sockets a node can hold.
- [Metrics](operations.md#metrics): what is counted.
- [Protocol](protocol.md#122-quotas): what the limits mean for clients.
";

const EXAMPLE_HEAD: &str = "\
# Every setting with its default. Copy this file to `.env`, or set them in the environment, which wins.
# A time is seconds, or a number with a unit: ms, s, m, h, d. `parlance config` prints what will be used.
# A secret may be in a file: JWT_SECRET_FILE=/run/secrets/jwt_secret instead of JWT_SECRET=….
# Made by `parlance config --example`; docs/configuration.md has the values that are allowed.
";

impl Config {
    /// The text of `docs/configuration.md`.
    #[must_use]
    pub fn markdown() -> String {
        let mut walk = SettingsWalk::looking();
        Self::default().walk(&mut walk);
        let mut text = MARKDOWN_HEAD.to_owned();
        for section in &walk.sections {
            text += &format!("## {}\n\n", section.title);
            if !section.introduction.is_empty() {
                text += &wrapped(section.introduction, "");
                text.push('\n');
            }
            text += "| name | default | values | meaning |\n|---|---|---|---|\n";
            for entry in walk.entries.iter().filter(|entry| entry.section == section.title) {
                text += &format!(
                    "| `{}` | {} | {} | {} |\n",
                    entry.name,
                    default_of(entry),
                    entry.allowed,
                    entry.meaning
                );
            }
            text.push('\n');
        }
        text.truncate(text.trim_end().len());
        text + "\n" + MARKDOWN_FOOT
    }

    /// The text of `.env.example`.
    #[must_use]
    pub fn example() -> String {
        let mut walk = SettingsWalk::looking();
        Self::default().walk(&mut walk);
        let mut text = EXAMPLE_HEAD.to_owned();
        for section in &walk.sections {
            text += &format!("\n# --- {} ---\n", section.title);
            text += &wrapped(section.introduction, "# ");
            for entry in walk.entries.iter().filter(|entry| entry.section == section.title) {
                let unset = entry.unset.map(|what| format!(" Unless set: {what}."));
                text += &wrapped(&format!("{}{}", entry.meaning, unset.unwrap_or_default()), "# ");
                let value = if entry.unset.is_some() { "" } else { &entry.readable };
                text += &format!("#{}={value}\n", entry.name);
            }
        }
        text
    }
}

fn default_of(entry: &SettingEntry) -> String {
    let fixed = || format!("`{}`", entry.readable);
    entry.unset.map_or_else(fixed, str::to_owned)
}

/// The words in lines that begin with `mark`; nothing for no words.
fn wrapped(words: &str, mark: &str) -> String {
    let (mut text, mut line) = (String::new(), mark.to_owned());
    for word in words.split_whitespace() {
        let is_empty = line.len() == mark.len();
        if !is_empty && line.chars().count() + 1 + word.chars().count() > LINE_CHARS_MAX {
            text += &line;
            text.push('\n');
            line.truncate(mark.len());
        } else if !is_empty {
            line.push(' ');
        }
        line += word;
    }
    if line.len() > mark.len() {
        text += &line;
        text.push('\n');
    }
    text
}
