//! One walk over the settings: takes each from the environment, and notes what it is.
//!
//! Each section's `walk` names its settings, in the order in which operators see them. The same
//! walk reads a configuration, prints it, and writes the documents about it. A mistake is noted and
//! the walk goes on, because an operator who learns of one mistake a restart gives up. An error
//! never repeats the text it refuses: it may be a secret.

use super::values::Setting;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// A setting as the walk met it.
pub(super) struct SettingEntry {
    /// The title of its section.
    pub section: &'static str,
    pub name: &'static str,
    /// The value it has after the walk, as an operator would write it; masked if it is a secret.
    pub value: String,
    /// The same for people: times have a unit.
    pub readable: String,
    /// Which values it takes, in words.
    pub allowed: String,
    pub meaning: &'static str,
    /// What holds when it is not set, where that is no fixed value.
    pub unset: Option<&'static str>,
    pub is_secret: bool,
}

/// A heading above settings.
pub(super) struct SettingsSection {
    pub title: &'static str,
    /// A paragraph, or nothing.
    pub introduction: &'static str,
}

pub(super) struct SettingsWalk<'a> {
    vars: Option<&'a BTreeMap<String, String>>,
    section: &'static str,
    pub errors: Vec<String>,
    pub sections: Vec<SettingsSection>,
    pub entries: Vec<SettingEntry>,
}

impl<'a> SettingsWalk<'a> {
    /// A walk that takes values from these variables.
    pub(super) fn reading(vars: &'a BTreeMap<String, String>) -> Self {
        let mut walk = Self::looking();
        walk.vars = Some(vars);
        walk
    }

    /// A walk that only looks.
    pub(super) const fn looking() -> Self {
        Self {
            vars: None,
            section: "",
            errors: Vec::new(),
            sections: Vec::new(),
            entries: Vec::new(),
        }
    }

    /// Whether values are taken. A default that follows from another setting is computed only then.
    pub(super) const fn is_reading(&self) -> bool {
        self.vars.is_some()
    }

    /// Begins a section of the page and of the example: the settings that follow are in it.
    pub(super) fn section(&mut self, title: &'static str, introduction: &'static str) {
        self.section = title;
        self.sections.push(SettingsSection { title, introduction });
    }

    /// A setting whose type alone says what is valid.
    pub(super) fn value<T: Setting>(&mut self, name: &'static str, place: &mut T, meaning: &'static str) {
        self.take(name, place, |_| Ok(()));
        self.note(name, place, T::FORM.to_owned(), meaning);
    }

    /// A setting with a smallest and a largest value.
    pub(super) fn bounded<T: Setting + PartialOrd>(
        &mut self,
        name: &'static str,
        place: &mut T,
        range: RangeInclusive<T>,
        meaning: &'static str,
    ) {
        self.take(name, place, |value| {
            if range.contains(value) {
                return Ok(());
            }
            Err(format!(
                "must be from {} to {}",
                range.start().show(),
                range.end().show()
            ))
        });
        let allowed = format!("`{}` to `{}`", range.start().readable(), range.end().readable());
        self.note(name, place, allowed, meaning);
    }

    /// Says what holds when the setting before is not set, where that is no fixed value.
    pub(super) fn unset(&mut self, what: &'static str) {
        if let Some(entry) = self.entries.last_mut() {
            entry.unset = Some(what);
        }
    }

    /// Takes the value from the variables, if it is there and valid.
    fn take<T: Setting>(&mut self, name: &str, place: &mut T, check: impl FnOnce(&T) -> Result<(), String>) {
        let text = self.vars.and_then(|vars| vars.get(name)).map(|text| text.trim());
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            return;
        };
        match T::parse(text).and_then(|value| check(&value).map(|()| value)) {
            Ok(value) => *place = value,
            Err(reason) => self.errors.push(format!("{name}: {reason}")),
        }
    }

    fn note<T: Setting>(&mut self, name: &'static str, place: &T, allowed: String, meaning: &'static str) {
        self.entries.push(SettingEntry {
            section: self.section,
            name,
            value: place.show(),
            readable: place.readable(),
            allowed,
            meaning,
            unset: None,
            is_secret: T::IS_SECRET,
        });
    }
}
