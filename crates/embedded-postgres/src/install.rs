//! Which programs of PostgreSQL to run, and as whom.
//!
//! PostgreSQL refuses to run as root. Where the owner is root, it gets an existing unprivileged
//! account: the one that owns the data already, else `parlance-postgres`, else `postgres`. Never
//! `nobody` for new data: whoever runs as that reads it, and enters by the socket. That account must
//! be able to reach the programs and the data. It is checked here, because PostgreSQL's own message
//! names neither the directory in the way nor what to do.

use crate::error::Error;
use crate::settings::Settings;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// The oldest major version that serves.
const MAJOR_MIN: u32 = 15;

/// Accounts to run as, in this order, when the data has no owner yet. `scripts/lib.sh` makes the
/// first where there is none.
const ACCOUNTS: [&str; 2] = ["parlance-postgres", "postgres"];
/// An account that programs share which have none.
const SHARED: &str = "nobody";

/// The programs of one PostgreSQL, and its version.
#[derive(Clone, Debug)]
pub(crate) struct Install {
    pub(crate) bin_dir: PathBuf,
    pub(crate) major: u32,
}

/// The account to run as; not root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Install {
    /// The directory that the settings name, else the first candidate that has programs, else what
    /// `pg_config` says.
    pub(crate) async fn find(settings: &Settings) -> Result<Self, Error> {
        let bin_dir = match &settings.bin_dir {
            Some(dir) if is_bin_dir(dir) => dir.clone(),
            Some(dir) => return Err(Error::NoPrograms(dir.clone())),
            None => Self::search(&settings.bin_dir_candidates)
                .await
                .ok_or(Error::NotFound)?,
        };
        let bin_dir = bin_dir.canonicalize().map_err(Error::file(&bin_dir))?;
        let major = major_version(&bin_dir).await?;
        if major < MAJOR_MIN {
            return Err(Error::TooOld {
                bin_dir,
                major,
                major_min: MAJOR_MIN,
            });
        }
        Ok(Self { bin_dir, major })
    }

    async fn search(candidates: &[PathBuf]) -> Option<PathBuf> {
        if let Some(dir) = candidates.iter().find(|dir| is_bin_dir(dir)) {
            return Some(dir.clone());
        }
        let output = Command::new("pg_config").arg("--bindir").output().await.ok()?;
        let dir = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
        is_bin_dir(&dir).then_some(dir)
    }

    /// A command of this PostgreSQL that runs as `account` in `dir`, with nothing of our
    /// environment: no library path, language or `PG*` variable may change what it does.
    pub(crate) fn command(&self, name: &str, account: Option<&Account>, dir: &Path) -> Command {
        let mut command = Command::new(self.bin_dir.join(name));
        command
            .env_clear()
            .env("LC_ALL", "C")
            .env("PATH", "/usr/bin:/bin")
            .current_dir(dir);
        if let Some(account) = account {
            command.uid(account.uid).gid(account.gid);
        }
        command
    }
}

fn is_bin_dir(dir: &Path) -> bool {
    dir.join("postgres").is_file() && dir.join("initdb").is_file()
}

async fn major_version(bin_dir: &Path) -> Result<u32, Error> {
    let program = bin_dir.join("postgres");
    let failed = |reason: String| Error::Program {
        program: program.clone(),
        reason,
    };
    let output = Command::new(&program)
        .arg("--version")
        .output()
        .await
        .map_err(|error| failed(error.to_string()))?;
    parse_major(&String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// The `18` of `postgres (PostgreSQL) 18.6 (Debian …)`.
fn parse_major(text: &str) -> Option<u32> {
    let version = text.split_once("(PostgreSQL) ")?.1;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

impl Account {
    /// The account to run as; `None` where this process is not root and stays who it is.
    pub(crate) fn choose(cluster_dir: &Path) -> Result<Option<Self>, Error> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let passwd = Path::new("/etc/passwd");
        let accounts = std::fs::read_to_string(passwd).map_err(Error::file(passwd))?;
        let owner = cluster_dir
            .metadata()
            .ok()
            .map(|metadata| metadata.uid())
            .filter(|uid| *uid != 0);
        let account = Self::pick(&accounts, owner).ok_or(Error::NoAccount)?;
        if account.name == SHARED {
            tracing::warn!(
                "The database in {} belongs to `{SHARED}`, which other programs may run as too. Stop the node, make an \
                 account (useradd --system --no-create-home --shell /usr/sbin/nologin {}), and give it the directory and \
                 the socket's (chown -R)",
                cluster_dir.display(),
                ACCOUNTS[0]
            );
        }
        Ok(Some(account))
    }

    fn pick(passwd: &str, owner: Option<u32>) -> Option<Self> {
        let accounts: Vec<Self> = passwd
            .lines()
            .filter_map(Self::parse)
            .filter(|account| account.uid != 0)
            .collect();
        if let Some(uid) = owner {
            return accounts.into_iter().find(|account| account.uid == uid);
        }
        ACCOUNTS
            .iter()
            .find_map(|name| accounts.iter().find(|account| account.name == *name).cloned())
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Self { name, uid, gid })
    }

    /// Refuses a path that this account cannot get to, naming the directory in the way.
    pub(crate) fn check_reach(&self, path: &Path) -> Result<(), Error> {
        for dir in path.ancestors().filter(|dir| !dir.as_os_str().is_empty()) {
            let metadata = dir.metadata().map_err(Error::file(dir))?;
            if !self.may_enter(&metadata) {
                return Err(Error::OutOfReach {
                    account: self.name.clone(),
                    path: path.to_owned(),
                    barrier: dir.to_owned(),
                });
            }
        }
        Ok(())
    }

    fn may_enter(&self, metadata: &Metadata) -> bool {
        let mode = metadata.mode();
        if metadata.uid() == self.uid {
            mode & 0o100 != 0
        } else if metadata.gid() == self.gid {
            mode & 0o010 != 0
        } else {
            mode & 0o001 != 0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_postgres_says() {
        for (text, major) in [
            ("postgres (PostgreSQL) 18.6\n", Some(18)),
            ("postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)", Some(15)),
            ("postgres (PostgreSQL) 19beta2", Some(19)),
            ("bash: not found", None),
        ] {
            assert_eq!(parse_major(text), major, "{text}");
        }
    }

    #[test]
    fn the_owner_of_the_data_comes_first_then_an_account_of_its_own_and_never_a_shared_one() {
        let passwd = "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\nalice:x:1000:100::/:\n";
        let uid = |passwd: &str, owner| Account::pick(passwd, owner).map(|account| account.uid);
        assert_eq!(uid(passwd, None), None);
        assert_eq!(uid(passwd, Some(65_534)), Some(65_534), "data of before");
        let installed = format!("{passwd}postgres:x:70:71::/:\n");
        assert_eq!(uid(&installed, None), Some(70));
        let own = format!("{installed}parlance-postgres:x:80:81::/:\n");
        assert_eq!(uid(&own, None), Some(80));
        assert_eq!(uid(&own, Some(70)), Some(70));
        assert_eq!(uid(passwd, Some(1_000)), Some(1_000));
        assert_eq!(uid(passwd, Some(1_001)), None);
        assert_eq!(uid("root:x:0:0::/root:/bin/sh\nbroken\n", None), None);
    }
}
