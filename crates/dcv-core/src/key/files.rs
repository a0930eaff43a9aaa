//! Files that appear whole or not at all, and several together as nearly at once as a filesystem can.
//!
//! Everything is written beside its target and forced to disk first; only then is each file renamed into place, and the
//! folders are forced to disk. What goes wrong before the first rename leaves nothing changed and nothing behind. A
//! power cut between two renames can leave some old and some new files; writing the set again puts that right.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// For the owner only.
pub(crate) const PRIVATE: u32 = 0o600;
/// For everybody to read.
pub(crate) const PUBLIC: u32 = 0o644;

/// Files written beside their targets, to be renamed together. Those not committed are removed.
#[derive(Default)]
pub(crate) struct Staged {
    files: Vec<(PathBuf, PathBuf)>,
}

impl Staged {
    /// Writes `content` beside `target` with these permissions, and forces it to disk.
    pub(crate) fn add(&mut self, target: &Path, content: &[u8], mode: u32) -> io::Result<()> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        if name.is_empty() || target.is_dir() {
            let why = "is a folder, not a file; remove it or choose another name";
            return Err(at(target, io::Error::new(io::ErrorKind::IsADirectory, why)));
        }
        let temp = target.with_file_name(format!(".{name}.{:016x}.tmp", rand::random::<u64>()));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
        let mut file = options.open(&temp).map_err(|e| at(target, e))?;
        self.files.push((temp, target.to_owned()));
        file.write_all(content).and_then(|()| file.sync_all()).map_err(|e| at(target, e))
    }

    /// Renames all files into place, in the order they were added.
    pub(crate) fn commit(mut self) -> io::Result<()> {
        let files = std::mem::take(&mut self.files);
        let mut folders: Vec<PathBuf> = Vec::new();
        let mut pending = files.into_iter();
        while let Some((temp, target)) = pending.next() {
            if let Err(error) = fs::rename(&temp, &target) {
                self.files.push((temp, target.clone()));
                self.files.extend(pending);
                return Err(at(&target, error));
            }
            let folder = folder_of(&target);
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        // Windows cannot open a folder as a file, and needs it not.
        if cfg!(unix) {
            for folder in folders {
                File::open(&folder).and_then(|folder| folder.sync_all()).map_err(|e| at(&folder, e))?;
            }
        }
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        for (temp, _) in &self.files {
            // Nothing more can be done about a file that cannot be removed; the error at hand is the one to tell.
            let _ = fs::remove_file(temp);
        }
    }
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// The error with its path, which the system leaves out.
pub(crate) fn at(path: &Path, error: impl Into<io::Error>) -> io::Error {
    let error = error.into();
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
