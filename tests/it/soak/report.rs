//! What a soak says at its end: which faults were tried, felt and survived, what was done meanwhile, and the verdict.

use super::checker::Verdict;
use super::faults::{Bite, Fault};
use super::history::History;
use super::vitals::Growth;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::time::Duration;

/// How many violations of a kind are shown.
const SHOWN: usize = 5;

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    tried: usize,
    bit: usize,
    survived: usize,
    /// The longest time until everybody was whole.
    longest: Duration,
}

/// What is counted.
#[derive(Default)]
pub struct Report {
    tallies: BTreeMap<Fault, Tally>,
    /// Faults that cannot be had on this machine, and why.
    pub skipped: Vec<(String, String)>,
    pub lasted: Duration,
    pub growths: Vec<Growth>,
    pub explained: BTreeMap<String, u64>,
    pub counts: BTreeMap<String, u64>,
    pub complaints: Vec<String>,
}

impl Report {
    pub fn count(&mut self, fault: Fault, bite: &Bite, whole_after: Option<Duration>) {
        let tally = self.tallies.entry(fault).or_default();
        tally.tried += 1;
        if bite.bit {
            tally.bit += 1;
            if let Some(after) = whole_after {
                tally.survived += 1;
                tally.longest = tally.longest.max(after);
            }
        }
    }

    /// Whether so many faults were felt that there is something to have survived: four of five. One may find nothing to do,
    /// such as losing answers where none was under way.
    pub fn is_telling(&self) -> bool {
        let (tried, bit) = self
            .tallies
            .values()
            .fold((0, 0), |(tried, bit), tally| (tried + tally.tried, bit + tally.bit));
        bit > 0 && bit * 5 >= tried * 4
    }

    pub fn text(&self, history: &History, verdict: &Verdict) -> String {
        let mut text = String::new();
        self.write(&mut text, history, verdict)
            .expect("a text takes everything");
        text
    }

    fn write(&self, text: &mut String, history: &History, verdict: &Verdict) -> std::fmt::Result {
        self.write_faults(text)?;
        self.write_work(text, history)?;
        for complaint in &self.complaints {
            writeln!(text, "COMPLAINT {complaint}")?;
        }
        let mut shown = BTreeMap::new();
        for violation in &verdict.violations {
            let count: &mut usize = shown.entry(violation.kind).or_default();
            *count += 1;
            if *count <= SHOWN {
                writeln!(text, "VIOLATION {violation}")?;
            }
        }
        writeln!(text, "Violations of the history: {:?}", verdict.kinds())?;
        writeln!(text, "Complaints besides: {}", self.complaints.len())
    }

    fn write_faults(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "\n| fault | tried | bit | survived | whole after, at most |")?;
        writeln!(text, "|---|---:|---:|---:|---:|")?;
        let mut all = Tally::default();
        for (fault, tally) in &self.tallies {
            writeln!(text, "| {fault} | {tally}")?;
            all.tried += tally.tried;
            all.bit += tally.bit;
            all.survived += tally.survived;
            all.longest = all.longest.max(tally.longest);
        }
        writeln!(text, "| **all** | {all}")?;
        for (what, why) in &self.skipped {
            writeln!(text, "\nNot tried on this machine: {what}, because {why}.")?;
        }
        Ok(())
    }

    fn write_work(&self, text: &mut String, history: &History) -> std::fmt::Result {
        writeln!(text, "\nIn {:.1} minutes:", self.lasted.as_secs_f64() / 60.0)?;
        let messages: usize = history.truth.iter().map(|truth| truth.rows.len()).sum();
        let operations = &history.operations;
        let done = operations.iter().filter(|operation| operation.is_done()).count();
        let again = operations
            .iter()
            .filter(|operation| operation.attempts.len() > 1)
            .count();
        let shown: usize = history.readers.iter().map(|reader| reader.events.len()).sum();
        writeln!(
            text,
            "  {messages} messages in {} conversations; {done} of {} operations acknowledged, {again} sent more than once; \
             {shown} frames to {} readers; {} pages",
            history.truth.len(),
            operations.len(),
            history.readers.len(),
            history.pages.len()
        )?;
        for (what, count) in &self.counts {
            writeln!(text, "  {count:>8}  {what}")?;
        }
        writeln!(text, "Memory and descriptors, warm and at the end of a life:")?;
        for Growth { node, first, last } in &self.growths {
            writeln!(
                text,
                "  node {}: {:.0} MiB, {:.0} MiB ({:.2} times); {} and {} descriptors beside sockets",
                node + 1,
                first.resident_bytes as f64 / 1_048_576.0,
                last.resident_bytes as f64 / 1_048_576.0,
                last.resident_bytes as f64 / first.resident_bytes as f64,
                first.descriptors,
                last.descriptors
            )?;
        }
        if !self.explained.is_empty() {
            writeln!(text, "Errors that the nodes logged while a fault explained them:")?;
        }
        for (error, count) in &self.explained {
            writeln!(text, "  {count:>8}  {}", error.chars().take(160).collect::<String>())?;
        }
        Ok(())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            tried,
            bit,
            survived,
            longest,
        } = self;
        write!(f, "{tried} | {bit} | {survived} | {:.1} s |", longest.as_secs_f64())
    }
}
