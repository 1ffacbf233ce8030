//! The page's files on a disk, for a proxy that serves them without asking a node: what `parlance
//! assets DIR` writes.
//!
//! They come out of the program and not out of the repository, so their path has the very hash that
//! this program's pages name: `DIR/static/<hash>/…`, as a URL has it. Text that gains by it has its
//! gzip beside it (`.gz`), made once and as small as it gets.
//!
//! Versions stand side by side, since pages of the one before are still open when the next is
//! served. A version is there whole or not at all, also after a crash of the machine, and one that
//! is there is left alone: it is written under a name that nobody else has, goes to the disk, and
//! only then gets its own. Old ones are the operator's to remove, and so is a draft (a dot in
//! front) whose writer was killed.

use super::files::{Assets, gzip};
use crate::http::response::media_type::is_text;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Smallest file that is compressed, in bytes: less fits into a packet anyway.
const FILE_BYTES_MIN: usize = 1_024;

impl Assets {
    /// Writes all files under `root`. Returns the directory they are in.
    ///
    /// # Errors
    /// What the file system says.
    pub fn publish(&self, root: &Path) -> io::Result<PathBuf> {
        let versions = root.join("static");
        let home = versions.join(self.hash());
        if home.is_dir() {
            return Ok(home);
        }
        // Beside its place, so that it gets there in one step; in containers all processes have the
        // same number.
        let draft = versions.join(format!(".{}.{}", self.hash(), Uuid::new_v4().simple()));
        let written = self.write_all(&draft).and_then(|()| sync_all(&draft));
        if written.is_err() {
            // Half of it is of no use; that it stays is no reason to hide what was wrong.
            fs::remove_dir_all(&draft).ok();
        }
        written?;
        match fs::rename(&draft, &home) {
            // Someone else was faster, with the same.
            Err(_) if home.is_dir() => fs::remove_dir_all(&draft)?,
            other => other?,
        }
        // The name itself; and the directory's own, which may be new.
        sync(&versions)?;
        sync(root)?;
        Ok(home)
    }

    fn write_all(&self, draft: &Path) -> io::Result<()> {
        for (path, media_type, body) in self.files() {
            let file = draft.join(path);
            if let Some(directory) = file.parent() {
                fs::create_dir_all(directory)?;
            }
            fs::write(&file, body)?;
            if body.len() < FILE_BYTES_MIN || !is_text(media_type) {
                continue;
            }
            let small = gzip(body)?;
            if small.len() < body.len() {
                let mut name = file.into_os_string();
                name.push(".gz");
                fs::write(name, small)?;
            }
        }
        Ok(())
    }
}

/// Brings a directory to the disk with all that is in it, what is deepest first.
fn sync_all(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_all(&entry.path())?;
        } else {
            sync(&entry.path())?;
        }
    }
    sync(directory)
}

fn sync(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn all_files_are_there_and_text_is_small_too() {
        let root = std::env::temp_dir().join(format!("parlance-assets-{}", Uuid::now_v7().simple()));
        let assets = Assets::load();
        let home = assets.publish(&root).unwrap();
        assert_eq!(home, root.join("static").join(assets.hash()));
        for (path, _, body) in assets.files() {
            assert_eq!(fs::read(home.join(path)).unwrap(), &body[..], "{path}");
        }
        let mut text = Vec::new();
        let packed = fs::File::open(home.join("app.js.gz")).unwrap();
        flate2::read::GzDecoder::new(packed).read_to_end(&mut text).unwrap();
        assert_eq!(text, fs::read(home.join("app.js")).unwrap());
        // Again: nothing is written, nothing is left over.
        assert_eq!(assets.publish(&root).unwrap(), home);
        assert_eq!(fs::read_dir(root.join("static")).unwrap().count(), 1);
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn several_at_once_leave_one_that_is_whole() {
        const PUBLISHERS: usize = 4;
        let root = std::env::temp_dir().join(format!("parlance-assets-{}", Uuid::now_v7().simple()));
        let (assets, start) = (Assets::load(), std::sync::Barrier::new(PUBLISHERS));
        let publish = || {
            start.wait();
            let home = assets.publish(&root).unwrap();
            // Anyone who is told where it is finds all of it, whatever the others are doing.
            for (path, _, body) in assets.files() {
                assert_eq!(fs::read(home.join(path)).unwrap(), &body[..], "{path}");
            }
            home
        };
        let homes: Vec<PathBuf> = std::thread::scope(|scope| {
            let publishers: Vec<_> = (0..PUBLISHERS).map(|_| scope.spawn(publish)).collect();
            let ends = publishers.into_iter().map(|publisher| publisher.join().unwrap());
            ends.collect()
        });
        assert!(homes.iter().all(|home| *home == homes[0]));
        assert_eq!(
            fs::read_dir(root.join("static")).unwrap().count(),
            1,
            "no draft is left"
        );
        fs::remove_dir_all(&root).unwrap();
    }
}
