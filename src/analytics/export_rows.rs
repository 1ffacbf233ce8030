//! The lines of an export, and the word by which it goes on. Pure.
//!
//! No column holds a name, a title or a body: ids, numbers, times and words of the program's own. So
//! nothing needs escaping, in JSON or in CSV, and nothing can be a formula.

use super::period::{format_in, format_utc};
use super::zone::Zone;
use crate::ids::{ConversationId, MessageId, Seq, UserId, UserKind};
use std::fmt::Write as _;
use uuid::Uuid;

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportKind {
    /// A row a message.
    Messages,
    /// A row for an hour, a conversation, a user and a kind.
    Counts,
}

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    Ndjson,
    Csv,
}

/// A message, without what it says.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExportedMessage {
    pub(super) conversation: ConversationId,
    pub(super) seq: Seq,
    pub(super) id: MessageId,
    pub(super) author: UserId,
    pub(super) kind: UserKind,
    /// In milliseconds of Unix time.
    pub(super) created_at: i64,
    /// Of the body as it is now.
    pub(super) bytes: i64,
    pub(super) is_edited: bool,
    pub(super) is_deleted: bool,
}

/// How many messages a user posted in a conversation in an hour.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExportedCount {
    /// When the hour begins in the calendar of the zone, in milliseconds of Unix time.
    pub(super) hour: i64,
    pub(super) conversation: ConversationId,
    pub(super) user: UserId,
    pub(super) kind: UserKind,
    pub(super) messages: i64,
}

/// Behind which row an export goes on. Opaque to clients; it decides nothing about rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportCursor {
    /// After a message: its time, conversation and number.
    Message {
        created_at: i64,
        conversation: ConversationId,
        seq: Seq,
    },
    /// After a count: the beginning of its hour, within the range that was asked for.
    Count {
        hour: i64,
        conversation: ConversationId,
        user: UserId,
        kind: UserKind,
    },
}

/// The latest time that PostgreSQL is asked for, in milliseconds: the year 10000.
const MS_END: i64 = 253_402_300_800_000;

impl ExportCursor {
    /// Reads what [`Self::write`] wrote.
    #[must_use]
    pub fn parse(kind: ExportKind, text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let (tag, at, conversation) = (parts.next()?, parts.next()?, parts.next()?);
        let at = i64::from_str_radix(at, 16).ok()?;
        let conversation = ConversationId(Uuid::try_parse(conversation).ok()?);
        let cursor = match (kind, tag) {
            (ExportKind::Messages, "m") => Self::Message {
                created_at: at,
                conversation,
                seq: Seq(i64::from_str_radix(parts.next()?, 16).ok()?),
            },
            (ExportKind::Counts, "c") => Self::Count {
                hour: at,
                conversation,
                user: UserId(Uuid::try_parse(parts.next()?).ok()?),
                kind: UserKind::parse(parts.next()?)?,
            },
            _ => return None,
        };
        (parts.next().is_none() && (-MS_END..MS_END).contains(&at)).then_some(cursor)
    }

    /// The word for the next request.
    #[must_use]
    pub fn write(&self) -> String {
        match self {
            Self::Message {
                created_at,
                conversation,
                seq,
            } => format!("m.{created_at:x}.{}.{:x}", conversation.0.simple(), seq.0),
            Self::Count {
                hour,
                conversation,
                user,
                kind,
            } => format!("c.{hour:x}.{}.{}.{kind}", conversation.0.simple(), user.0.simple()),
        }
    }
}

/// Writes lines into a piece of the response.
pub(super) struct LineWriter {
    format: ExportFormat,
    zone: Zone,
    /// The last hour that was written, and its text: most lines share it.
    hour: Option<(i64, String)>,
    pub(super) text: String,
}

impl LineWriter {
    pub(super) const fn new(format: ExportFormat, zone: Zone) -> Self {
        Self {
            format,
            zone,
            hour: None,
            text: String::new(),
        }
    }

    /// The line before the first row: CSV names its columns.
    pub(super) fn head(&mut self, kind: ExportKind) {
        if self.format == ExportFormat::Csv {
            self.text.push_str(match kind {
                ExportKind::Messages => "conversation,seq,id,author,kind,created_at,bytes,edited,deleted\n",
                ExportKind::Counts => "hour,conversation,user,kind,messages\n",
            });
        }
    }

    pub(super) fn message(&mut self, row: &ExportedMessage) {
        let ExportedMessage {
            conversation,
            seq,
            id,
            author,
            kind,
            created_at,
            bytes,
            is_edited,
            is_deleted,
        } = row;
        let (text, at) = (&mut self.text, format_utc(*created_at));
        let written = match self.format {
            ExportFormat::Ndjson => writeln!(
                text,
                "{{\"conversation\":\"{conversation}\",\"seq\":{seq},\"id\":\"{id}\",\"author\":\"{author}\",\
                 \"kind\":\"{kind}\",\"created_at\":\"{at}\",\"bytes\":{bytes},\"edited\":{is_edited},\
                 \"deleted\":{is_deleted}}}"
            ),
            ExportFormat::Csv => writeln!(
                text,
                "{conversation},{seq},{id},{author},{kind},{at},{bytes},{is_edited},{is_deleted}"
            ),
        };
        // Writing to a string does not fail.
        written.unwrap_or_default();
    }

    pub(super) fn count(&mut self, row: &ExportedCount) {
        let ExportedCount {
            conversation,
            user,
            kind,
            messages,
            ..
        } = row;
        let hour = match self.hour.take() {
            Some((at, text)) if at == row.hour => text,
            _ => format_in(&self.zone, row.hour),
        };
        let text = &mut self.text;
        let written = match self.format {
            ExportFormat::Ndjson => writeln!(
                text,
                "{{\"hour\":\"{hour}\",\"conversation\":\"{conversation}\",\"user\":\"{user}\",\"kind\":\"{kind}\",\
                 \"messages\":{messages}}}"
            ),
            ExportFormat::Csv => writeln!(text, "{hour},{conversation},{user},{kind},{messages}"),
        };
        written.unwrap_or_default();
        self.hour = Some((row.hour, hour));
    }

    /// The last line.
    pub(super) fn next(&mut self, cursor: Option<ExportCursor>) {
        let cursor = cursor.map(|cursor| cursor.write());
        let line = match (self.format, cursor) {
            (ExportFormat::Ndjson, Some(cursor)) => format!("{{\"next\":\"{cursor}\"}}\n"),
            (ExportFormat::Ndjson, None) => "{\"next\":null}\n".to_owned(),
            (ExportFormat::Csv, cursor) => format!("# next: {}\n", cursor.as_deref().unwrap_or("null")),
        };
        self.text.push_str(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn message(created_at: i64) -> ExportedMessage {
        ExportedMessage {
            conversation: ConversationId(id(1)),
            seq: Seq(7),
            id: MessageId(id(2)),
            author: UserId(id(3)),
            kind: UserKind::Person,
            created_at,
            bytes: 12,
            is_edited: true,
            is_deleted: false,
        }
    }

    fn written(format: ExportFormat, write: impl FnOnce(&mut LineWriter)) -> String {
        let mut writer = LineWriter::new(format, Zone::find("Asia/Kathmandu").unwrap());
        write(&mut writer);
        writer.text
    }

    #[test]
    fn lines_are_as_promised() {
        let json = written(ExportFormat::Ndjson, |writer| {
            writer.head(ExportKind::Messages);
            writer.message(&message(1_795_000_000_123));
            writer.next(None);
        });
        let lines: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["created_at"], "2026-11-18T11:06:40.123Z");
        assert_eq!(
            (&lines[0]["bytes"], &lines[0]["edited"], &lines[0]["deleted"]),
            (&12.into(), &true.into(), &false.into())
        );
        assert_eq!(lines[1], serde_json::json!({"next": null}));
        let csv = written(ExportFormat::Csv, |writer| {
            writer.head(ExportKind::Counts);
            for hour in [1_794_998_700_000, 1_794_998_700_000, 1_795_002_300_000] {
                writer.count(&ExportedCount {
                    hour,
                    conversation: ConversationId(id(1)),
                    user: UserId(id(3)),
                    kind: UserKind::Agent,
                    messages: 4,
                });
            }
            writer.next(None);
        });
        let of = |hour| format!("{hour},{},{},agent,4", id(1), id(3));
        assert_eq!(
            csv.lines().collect::<Vec<_>>(),
            [
                "hour,conversation,user,kind,messages",
                &of("2026-11-18T16:30:00.000+05:45"),
                &of("2026-11-18T16:30:00.000+05:45"),
                &of("2026-11-18T17:30:00.000+05:45"),
                "# next: null"
            ]
        );
    }

    #[test]
    fn a_cursor_of_the_other_kind_is_none() {
        let cursor = ExportCursor::Message {
            created_at: 5,
            conversation: ConversationId(id(1)),
            seq: Seq(2),
        };
        assert_eq!(ExportCursor::parse(ExportKind::Messages, &cursor.write()), Some(cursor));
        assert_eq!(ExportCursor::parse(ExportKind::Counts, &cursor.write()), None);
        for wrong in [
            "",
            "m",
            "m.1",
            "m.1.x.2",
            "c.1.2.3.robot",
            &format!("{}.1", cursor.write()),
            "m.7fffffffffffffff.00000000000000000000000000000001.1",
        ] {
            assert_eq!(ExportCursor::parse(ExportKind::Messages, wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_cursor_brings_its_place_back(at in 0..MS_END, one: u128, other: u128, seq in 0..i64::MAX) {
            let message = ExportCursor::Message { created_at: at, conversation: ConversationId(id(one)), seq: Seq(seq) };
            prop_assert_eq!(ExportCursor::parse(ExportKind::Messages, &message.write()), Some(message));
            let count = ExportCursor::Count {
                hour: at, conversation: ConversationId(id(one)), user: UserId(id(other)), kind: UserKind::System,
            };
            prop_assert_eq!(ExportCursor::parse(ExportKind::Counts, &count.write()), Some(count));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,80}") {
            let parsed = [ExportKind::Messages, ExportKind::Counts].map(|kind| ExportCursor::parse(kind, &text));
            prop_assert!(parsed.iter().flatten().count() <= 1);
        }
    }
}
