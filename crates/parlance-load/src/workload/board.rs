//! What all users count, in one place under one lock: some hundred entries a second.

use super::action::Action;
use crate::error::Result;
use crate::measure::stats::histogram;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Different errors that are kept with their text.
const ERRORS_MAX: usize = 50;

/// What happened in some time.
pub(super) struct Counts {
    /// Microseconds of each action that succeeded, in the order of [`Action::ALL`].
    pub(super) latencies: Vec<Histogram<u64>>,
    pub(super) failed: [u64; Action::ALL.len()],
    /// Messages of others that came over sockets.
    pub(super) deliveries: u64,
    /// What failed, with how often.
    pub(super) errors: BTreeMap<String, u64>,
}

impl Counts {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            latencies: Action::ALL.iter().map(|_| histogram()).collect::<Result<_>>()?,
            failed: [0; Action::ALL.len()],
            deliveries: 0,
            errors: BTreeMap::new(),
        })
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (into, from) in self.latencies.iter_mut().zip(&other.latencies) {
            *into += from;
        }
        for (into, from) in self.failed.iter_mut().zip(other.failed) {
            *into += from;
        }
        self.deliveries += other.deliveries;
        for (error, n) in &other.errors {
            self.note_error(error, *n);
        }
    }

    /// All actions together.
    pub(super) fn all(&self) -> Result<Histogram<u64>> {
        let mut all = histogram()?;
        for one in &self.latencies {
            all += one;
        }
        Ok(all)
    }

    pub(super) fn done(&self) -> u64 {
        self.latencies.iter().map(Histogram::len).sum()
    }

    pub(super) fn failures(&self) -> u64 {
        self.failed.iter().sum()
    }

    fn note_error(&mut self, error: &str, n: u64) {
        if self.errors.len() < ERRORS_MAX || self.errors.contains_key(error) {
            *self.errors.entry(error.to_owned()).or_default() += n;
        }
    }
}

/// Shared by all users; drained by who samples.
pub(super) struct Board {
    counts: Mutex<Counts>,
}

impl Board {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            counts: Mutex::new(Counts::new()?),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Counting cannot leave it half done.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn succeeded(&self, action: Action, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        self.lock().latencies[action.index()].saturating_record(us);
    }

    pub(super) fn failed(&self, action: Action, error: &str) {
        let mut counts = self.lock();
        counts.failed[action.index()] += 1;
        counts.note_error(&format!("{}: {error}", action.as_str()), 1);
    }

    pub(super) fn delivered(&self, messages: u64) {
        self.lock().deliveries += messages;
    }

    /// Takes what was counted since the last time.
    pub(super) fn drain(&self) -> Result<Counts> {
        let empty = Counts::new()?;
        Ok(std::mem::replace(&mut *self.lock(), empty))
    }
}
