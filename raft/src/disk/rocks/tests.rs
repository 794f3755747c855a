use std::{fs, path::PathBuf};

use super::*;

fn open(folder: &Path) -> Result<RocksDisk, DiskError> {
    RocksDisk::open(folder, &RocksOptions::default())
}

fn put(disk: &RocksDisk, key: &str, durability: Durability) {
    let mut batch = Batch::new();
    batch.put(Table::Log, key.as_bytes().to_vec(), vec![1; 100]);
    disk.write(batch, durability).unwrap();
}

fn write_ahead_log(folder: &Path) -> PathBuf {
    let mut logs: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.sort();
    logs.pop().unwrap()
}

/// Leaves the files as a killed process would.
fn abandon(disk: RocksDisk) {
    std::mem::forget(disk);
}

/// A copy of the folder, since the lock of an abandoned database stays with the process.
fn copy(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    copy
}

#[test]
fn what_was_written_is_read_in_order_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path()).unwrap();
    for key in ["b", "a", "c"] {
        put(&disk, key, Durability::Buffered);
    }
    let view = disk.view();
    let mut batch = Batch::new();
    batch.delete_range(Table::Log, "b", "z");
    disk.write(batch, Durability::Synced).unwrap();
    for (order, expected) in [(Order::Forward, "abc"), (Order::Reverse, "cba")] {
        let mut seen = String::new();
        view.scan(Table::Log, b"a", b"d", order, &mut |key, _| {
            seen.push_str(std::str::from_utf8(key).unwrap());
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(seen, expected);
    }
    assert!(disk.get(Table::Log, b"a").unwrap().is_some());
    assert!(disk.get(Table::Log, b"b").unwrap().is_none());
    assert!(disk.get(Table::State, b"a").unwrap().is_none(), "tables are apart");
}

#[test]
fn an_unsynced_end_may_be_lost_but_what_was_synced_may_not() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path()).unwrap();
    for index in 0..10 {
        put(&disk, &format!("synced {index}"), Durability::Synced);
    }
    put(&disk, "unsynced", Durability::Buffered);
    abandon(disk);

    // The last record is torn: a loss of power may do that.
    let torn = copy(folder.path());
    let log = write_ahead_log(torn.path());
    let bytes = fs::read(&log).unwrap();
    fs::write(&log, &bytes[..bytes.len() - 20]).unwrap();
    let disk = open(torn.path()).unwrap();
    assert!(disk.get(Table::Log, b"synced 9").unwrap().is_some());
    assert!(disk.get(Table::Log, b"unsynced").unwrap().is_none());

    // A record in the middle is damaged: that is corruption, and must not pass for a crash.
    let damaged = copy(folder.path());
    let log = write_ahead_log(damaged.path());
    let mut bytes = fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(&log, &bytes).unwrap();
    let error = open(damaged.path()).err().expect("opened a damaged write-ahead log");
    assert!(matches!(error, DiskError::LostWrites { .. }), "{error}");
}

fn manifest(folder: &Path) -> PathBuf {
    let current = fs::read_to_string(folder.join("CURRENT")).unwrap();
    folder.join(current.trim())
}

#[test]
fn a_table_that_the_manifest_forgot_is_damage_and_is_not_made_again_empty() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path()).unwrap();
    let mut batch = Batch::new();
    batch.put(Table::State, "run", "state");
    disk.write(batch, Durability::Synced).unwrap();
    put(&disk, "after", Durability::Synced);
    abandon(disk);

    // The last record is the one that made the table of the state.
    let cut = copy(folder.path());
    let path = manifest(cut.path());
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 11]).unwrap();
    let error = open(cut.path()).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("state"), "{error}");
    open(copy(folder.path()).path()).unwrap();
}

#[test]
fn a_first_start_that_was_interrupted_is_taken_up_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    options.create_if_missing(true);
    drop(DB::open(&options, folder.path()).unwrap());
    let disk = open(folder.path()).unwrap();
    put(&disk, "a", Durability::Synced);
}
