//! Histories as files, before their runs are removed.
//!
//! `<folder>/<namespace>/<run id>-<uid>.jsonl`, in the format of [`quorus_spec::export`]. A file is written under another name, synced and renamed, so
//! one with its final name is whole; a run whose removal is tried again is written again.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use quorus_engine::RunUid;
use quorus_spec::export;

use crate::{
    api::{history_event, to_proto},
    store::{LoadedRun, ShardStore, StoreError},
};

/// Events read at a time.
const EVENTS_AT_ONCE: usize = 500;

/// Writes histories to a folder.
#[derive(Debug)]
pub struct Exporter {
    folder: PathBuf,
}

impl Exporter {
    /// One that writes to a folder, which is made when it is needed.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Writes a run's history; a run that is not there has none. Blocks: there is a sync in it.
    ///
    /// # Errors
    /// The outer one if the run can't be read, the inner one if the file can't be written.
    pub fn export(&self, store: &ShardStore, uid: RunUid) -> Result<io::Result<()>, StoreError> {
        let Some(run) = store.load_run(uid)? else { return Ok(Ok(())) };
        let folder = self.folder.join(file_name(&run.info.namespace));
        let name = format!("{}-{uid}.jsonl", file_name(&run.info.run_id));
        let unfinished = folder.join(format!(".{name}.unfinished"));
        let mut file = match fs::create_dir_all(&folder).and_then(|()| File::create(&unfinished)) {
            Ok(file) => BufWriter::new(file),
            Err(error) => return Ok(Err(error)),
        };
        match write(&mut file, store, &run) {
            Ok(()) => Ok(file
                .into_inner()
                .map_err(io::IntoInnerError::into_error)
                .and_then(|file| finish(&file, &unfinished, &folder.join(name)))),
            Err(WriteError::Store(error)) => Err(error),
            Err(WriteError::Io(error)) => Ok(Err(error)),
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn write(file: &mut impl Write, store: &ShardStore, run: &LoadedRun) -> Result<(), WriteError> {
    let mut wire = to_proto::run_summary(store.group(), &run.info, &run.head);
    wire.input = Some(to_proto::payload(&run.info.input));
    wire.output = run.head.output.as_ref().map(to_proto::payload);
    file.write_all(export::run_line(&wire).as_bytes())?;
    let mut next = 1;
    loop {
        let events = store.history(run.info.uid, next, EVENTS_AT_ONCE)?;
        for (sequence, event) in &events {
            file.write_all(export::event_line(&wire.run_uid, &history_event::event(*sequence, event)).as_bytes())?;
            next = sequence + 1;
        }
        if events.len() < EVENTS_AT_ONCE {
            break;
        }
    }
    file.write_all(export::end_line(&wire).as_bytes())?;
    Ok(())
}

/// What was written is on the disk, under its final name.
fn finish(file: &File, unfinished: &Path, path: &Path) -> io::Result<()> {
    file.sync_all()?;
    fs::rename(unfinished, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Names and ids hold letters, digits, `.`, `_`, `-` and `:`; only a dot at the beginning means something to a file system.
fn file_name(name: &str) -> String {
    match name.strip_prefix('.') {
        Some(rest) => format!("%2E{rest}"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leaves_the_folder() {
        assert_eq!(file_name(".."), "%2E.");
        assert_eq!(file_name("."), "%2E");
        assert_eq!(file_name("run-1.a:b"), "run-1.a:b");
    }
}
