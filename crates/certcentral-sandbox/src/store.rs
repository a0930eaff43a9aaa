//! Keeps the sandbox's state in a directory: one JSON snapshot, written beside the old one, flushed and renamed over
//! it, so that a crash leaves the old or the new one and never half of one. Requests that end together share a write.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Mutex,
};

use crate::state::State;

const SNAPSHOT: &str = "state.json";

#[derive(Debug)]
pub(crate) struct Store {
    dir: PathBuf,
    /// Revision of the snapshot on disk.
    written: Mutex<u64>,
}

impl Store {
    /// Opens the directory, made if need be, and reads the snapshot in it.
    pub(crate) fn open(dir: &Path) -> io::Result<(Self, State)> {
        fs::create_dir_all(dir)?;
        let state: State = match fs::read(dir.join(SNAPSHOT)) {
            Ok(json) => serde_json::from_slice(&json)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{SNAPSHOT}: {error}")))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => State::default(),
            Err(error) => return Err(error),
        };
        Ok((Self { dir: dir.to_owned(), written: Mutex::new(state.revision) }, state))
    }

    /// Makes sure that everything `state` holds now is on disk.
    pub(crate) fn save(&self, state: &Mutex<State>) -> io::Result<()> {
        let wanted = state.lock().expect("no panic while held").revision;
        let mut written = self.written.lock().expect("no panic while writing");
        if *written >= wanted {
            return Ok(());
        }
        let (revision, json) = {
            let state = state.lock().expect("no panic while held");
            (state.revision, serde_json::to_vec(&*state)?)
        };
        let temporary = self.dir.join(".state.json.new");
        let mut file = File::create(&temporary)?;
        file.write_all(&json)?;
        file.sync_all()?;
        fs::rename(&temporary, self.dir.join(SNAPSHOT))?;
        File::open(&self.dir)?.sync_all()?;
        *written = revision;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_comes_back_and_garbage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (store, state) = Store::open(dir.path()).unwrap();
        assert_eq!(state.revision, 0);
        let mut state = State::default();
        (state.revision, state.clock_offset) = (7, 60);
        let state = Mutex::new(state);
        store.save(&state).unwrap();
        let (_, again) = Store::open(dir.path()).unwrap();
        assert_eq!((again.revision, again.clock_offset), (7, 60));
        fs::write(dir.path().join(SNAPSHOT), b"{").unwrap();
        assert!(Store::open(dir.path()).unwrap_err().to_string().contains(SNAPSHOT));
    }
}
