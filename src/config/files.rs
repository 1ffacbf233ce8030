//! Secrets from files: for every secret setting `NAME`, the variable `NAME_FILE` may name a file
//! with its value.
//!
//! Orchestrators hand secrets over as files (`/run/secrets/…`). An environment is less safe:
//! children inherit it, `docker inspect` shows it, and it is in `/proc`. The rules are those that
//! images commonly have:
//! - The value is the file's content without the line break at its end.
//! - To set both is a mistake, and so is a file that cannot be read.
//! - Files are read once, at the start: a new secret takes a restart.
//!
//! What a file holds is never repeated in an error. Used by `Config::from_env` only, so that
//! reading a map of variables stays pure.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

/// The end of a variable's name that makes its value the path of a file.
const SUFFIX: &str = "_FILE";
/// Longest content: many times any address or key, and short enough to refuse a log or a device.
const BYTES_MAX: u64 = 64 * 1_024;

type Vars = BTreeMap<String, String>;

/// Removes both forms of a setting from `behind` where `front` has either one. So the environment
/// wins over `.env`, whichever form each of them uses.
pub(super) fn give_way(behind: &mut Vars, front: &Vars, secrets: &[&str]) {
    for name in secrets {
        let file = format!("{name}{SUFFIX}");
        if is_set(front, name) || is_set(front, &file) {
            behind.remove(*name);
            behind.remove(&file);
        }
    }
}

/// Replaces every `NAME_FILE` of a secret by `NAME` with what its file holds.
pub(super) fn resolve(vars: &mut Vars, secrets: &[&str], errors: &mut Vec<String>) {
    for name in secrets {
        let file = format!("{name}{SUFFIX}");
        let Some(path) = vars.remove(&file).filter(|path| !path.trim().is_empty()) else {
            continue;
        };
        if is_set(vars, name) {
            errors.push(format!("{file}: {name} is set too; use one of them"));
            continue;
        }
        match read(path.trim()) {
            Ok(value) => drop(vars.insert((*name).to_owned(), value)),
            Err(reason) => errors.push(format!("{file}: {} {reason}", path.trim())),
        }
    }
}

/// An empty value counts as not set, as everywhere.
fn is_set(vars: &Vars, name: &str) -> bool {
    vars.get(name).is_some_and(|value| !value.trim().is_empty())
}

fn read(path: &str) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(format!("holds more than {BYTES_MAX} bytes"));
    }
    // The error of the conversion would hold the bytes.
    let text = String::from_utf8(bytes).map_err(|_unshown| "is not text in UTF-8".to_owned())?;
    let value = text.trim_end_matches(['\n', '\r']);
    if value.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    Ok(value.to_owned())
}
