//! Reads the configuration: from the environment, a `.env` file behind it, and files that hold
//! secrets.
//!
//! Reading a map of variables is a pure function. It reports every mistake at once, and it refuses
//! unknown `PARLANCE_…` names: a misspelt setting that is silently ignored is found in production.

use super::files;
use super::root::Config;
use super::walk::SettingsWalk;
use std::collections::BTreeMap;
use std::fmt;

impl Config {
    /// Reads the environment and, behind it, the nearest `.env` file. Secrets may also be in the
    /// files that `NAME_FILE` names.
    ///
    /// # Errors
    /// All mistakes found, together.
    pub fn from_env() -> Result<Self, ConfigErrors> {
        let mut vars = BTreeMap::new();
        let mut errors = Vec::new();
        match dotenvy::dotenv_iter() {
            Ok(lines) => {
                for line in lines {
                    match line {
                        Ok((name, value)) => drop(vars.insert(name, value)),
                        // The text of the error may quote a line with a secret in it.
                        Err(_) => errors.push(".env: a line is not of the form NAME=value".to_owned()),
                    }
                }
            }
            Err(error) if error.not_found() => {}
            Err(error) => errors.push(format!(".env: {error}")),
        }
        // Names and values that are not Unicode cannot be ours.
        let environment = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        let environment: BTreeMap<_, _> = environment.collect();
        let secrets = Self::secrets();
        files::give_way(&mut vars, &environment, &secrets);
        vars.extend(environment);
        files::resolve(&mut vars, &secrets, &mut errors);
        match Self::from_vars(&vars) {
            Ok(config) if errors.is_empty() => Ok(config),
            Ok(_) => Err(ConfigErrors(errors)),
            Err(ConfigErrors(more)) => {
                errors.extend(more);
                Err(ConfigErrors(errors))
            }
        }
    }

    /// Reads a map of variables. An empty value counts as not set.
    ///
    /// # Errors
    /// All mistakes found, together.
    pub fn from_vars(vars: &BTreeMap<String, String>) -> Result<Self, ConfigErrors> {
        let mut config = Self::default();
        let mut walk = SettingsWalk::reading(vars);
        config.walk(&mut walk);
        config.check(&mut walk.errors);
        let is_known = |name: &str| walk.entries.iter().any(|entry| entry.name == name);
        for name in vars.keys() {
            if name.starts_with("PARLANCE_") && !is_known(name) {
                walk.errors.push(format!("{name}: there is no such setting"));
            }
        }
        if walk.errors.is_empty() {
            Ok(config)
        } else {
            Err(ConfigErrors(walk.errors))
        }
    }

    /// The names of the settings that are secrets.
    pub(super) fn secrets() -> Vec<&'static str> {
        let mut walk = SettingsWalk::looking();
        Self::default().walk(&mut walk);
        let secrets = walk.entries.iter().filter(|entry| entry.is_secret);
        secrets.map(|entry| entry.name).collect()
    }
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is not usable:")?;
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

impl std::error::Error for ConfigErrors {}
