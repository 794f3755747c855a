//! Random work on a disk, compared with a model that knows only two states of each thing: as it is, and as it was synced.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use quorus_raft::disk::{Batch, Disk as _, Durability, RocksDisk, RocksOptions, Table};

use super::{
    control::Order,
    faults::Faults,
    keep::Keep,
    mount::{Mounted, unavailable},
    volume::{Lost, ROOT, Volume},
};
use crate::disk::{chance::Chance, mounts::mounted_at};

/// What the work needs of a disk. Folders are named by number, the first is the root.
trait Disk {
    fn folder(&mut self, name: &str);
    fn create(&mut self, folder: &str, name: &str);
    fn write(&mut self, folder: &str, name: &str, offset: u64, data: &[u8]);
    fn resize(&mut self, folder: &str, name: &str, to: u64);
    fn rename(&mut self, folder: &str, from: &str, to: &str);
    fn remove(&mut self, folder: &str, name: &str);
    fn sync_file(&mut self, folder: &str, name: &str);
    fn sync_folder(&mut self, folder: &str);
    fn lose(&mut self, keep: Keep, seed: u64) -> u64;
    fn read(&mut self) -> BTreeMap<(String, String), Vec<u8>>;
}

struct Direct(Volume);

impl Direct {
    fn folder_number(&self, folder: &str) -> u64 {
        if folder.is_empty() { ROOT } else { self.0.find(ROOT, OsStr::new(folder)).unwrap() }
    }
    fn number(&self, folder: &str, name: &str) -> u64 {
        self.0.find(self.folder_number(folder), OsStr::new(name)).unwrap()
    }
}

impl Disk for Direct {
    fn folder(&mut self, name: &str) {
        self.0.create(ROOT, OsStr::new(name), 0o755, true).unwrap();
    }
    fn create(&mut self, folder: &str, name: &str) {
        let folder = self.folder_number(folder);
        self.0.create(folder, OsStr::new(name), 0o644, false).unwrap();
    }
    fn write(&mut self, folder: &str, name: &str, offset: u64, data: &[u8]) {
        self.0.write(self.number(folder, name), offset, data).unwrap();
    }
    fn resize(&mut self, folder: &str, name: &str, to: u64) {
        self.0.resize(self.number(folder, name), to).unwrap();
    }
    fn rename(&mut self, folder: &str, from: &str, to: &str) {
        let folder = self.folder_number(folder);
        self.0.rename((folder, from.into()), (folder, to.into()), false).unwrap();
    }
    fn remove(&mut self, folder: &str, name: &str) {
        self.0.remove(self.folder_number(folder), OsStr::new(name), false).unwrap();
    }
    fn sync_file(&mut self, folder: &str, name: &str) {
        let began = self.0.sync_begins().unwrap();
        self.0.sync_file(self.number(folder, name), began).unwrap();
    }
    fn sync_folder(&mut self, folder: &str) {
        let began = self.0.sync_begins().unwrap();
        self.0.sync_folder(self.folder_number(folder), began).unwrap();
    }
    fn lose(&mut self, keep: Keep, seed: u64) -> u64 {
        let lost = self.0.lose_power(keep, false, &mut Chance::new(seed)).unwrap();
        self.0.power_on();
        lost.changes + lost.names
    }
    fn read(&mut self) -> BTreeMap<(String, String), Vec<u8>> {
        let mut found = BTreeMap::new();
        for folder in FOLDERS {
            for (name, number) in self.0.list(self.folder_number(folder)).unwrap() {
                if !self.0.node(number).unwrap().folder {
                    let file = self.0.reading(number).unwrap();
                    let size = usize::try_from(self.0.node(number).unwrap().size).unwrap();
                    let content = Volume::read_from(&file, 0, size + 1).unwrap();
                    assert_eq!(content.len(), size, "the size that is told is the file's");
                    found.insert((folder.to_owned(), name.into_string().unwrap()), content);
                }
            }
        }
        found
    }
}

struct ThroughKernel {
    mounted: Mounted,
    at: PathBuf,
}

impl ThroughKernel {
    fn path(&self, folder: &str, name: &str) -> PathBuf {
        self.at.join(folder).join(name)
    }
    fn open(&self, folder: &str, name: &str) -> File {
        File::options().read(true).write(true).open(self.path(folder, name)).unwrap()
    }
}

impl Disk for ThroughKernel {
    fn folder(&mut self, name: &str) {
        fs::create_dir(self.at.join(name)).unwrap();
    }
    fn create(&mut self, folder: &str, name: &str) {
        File::create_new(self.path(folder, name)).unwrap();
    }
    fn write(&mut self, folder: &str, name: &str, offset: u64, data: &[u8]) {
        self.open(folder, name).write_all_at(data, offset).unwrap();
    }
    fn resize(&mut self, folder: &str, name: &str, to: u64) {
        self.open(folder, name).set_len(to).unwrap();
    }
    fn rename(&mut self, folder: &str, from: &str, to: &str) {
        fs::rename(self.path(folder, from), self.path(folder, to)).unwrap();
    }
    fn remove(&mut self, folder: &str, name: &str) {
        fs::remove_file(self.path(folder, name)).unwrap();
    }
    fn sync_file(&mut self, folder: &str, name: &str) {
        self.open(folder, name).sync_data().unwrap();
    }
    fn sync_folder(&mut self, folder: &str) {
        File::open(self.at.join(folder)).unwrap().sync_all().unwrap();
    }
    fn lose(&mut self, keep: Keep, seed: u64) -> u64 {
        let answer = self.mounted.follow(&Order::PowerLoss { keep, torn: false, seed, kill: None });
        assert_eq!(answer.error, "");
        fs::read_dir(&self.at).map(|_| ()).unwrap_err();
        assert_eq!(self.mounted.follow(&Order::PowerOn).error, "");
        answer.changes_lost + answer.names_lost
    }
    fn read(&mut self) -> BTreeMap<(String, String), Vec<u8>> {
        let mut found = BTreeMap::new();
        for folder in FOLDERS {
            for entry in fs::read_dir(self.at.join(folder)).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
                let content = fs::read(entry.path()).unwrap();
                found.insert((folder.to_owned(), entry.file_name().into_string().unwrap()), content);
            }
        }
        found
    }
}

const FOLDERS: [&str; 3] = ["", "a", "b"];
const NAMES: [&str; 5] = ["n0", "n1", "n2", "n3", "n4"];

/// Names and contents, as they are and as they were synced. `past` are the contents that a file had since its last sync.
#[derive(Default)]
struct Model {
    names: BTreeMap<(String, String), u64>,
    names_synced: BTreeMap<(String, String), u64>,
    content: BTreeMap<u64, Vec<u8>>,
    synced: BTreeMap<u64, Vec<u8>>,
    past: BTreeMap<u64, Vec<Vec<u8>>>,
    next: u64,
}

impl Model {
    fn live(&self) -> BTreeMap<(String, String), Vec<u8>> {
        self.names.iter().map(|(place, id)| (place.clone(), self.content[id].clone())).collect()
    }
    fn durable(&self) -> BTreeMap<(String, String), Vec<u8>> {
        self.names_synced.iter().map(|(place, id)| (place.clone(), self.synced[id].clone())).collect()
    }
    fn changed(&mut self, id: u64) {
        self.past.entry(id).or_default().push(self.content[&id].clone());
    }
    fn everything_is_durable(&mut self) {
        self.names_synced = self.names.clone();
        self.synced = self.content.clone();
        self.past = self.content.iter().map(|(id, content)| (*id, vec![content.clone()])).collect();
    }
}

/// True if a file was like this once. The kernel may hand a write over in parts that end at pages.
fn was_once(past: &[Vec<u8>], content: &Vec<u8>) -> bool {
    let in_part = |before: &Vec<u8>, after: &Vec<u8>| {
        (4096..after.len()).step_by(4096).any(|cut| {
            let mut part = before.clone();
            part.resize(before.len().max(cut), 0);
            part[..cut].copy_from_slice(&after[..cut]);
            part == *content
        })
    };
    past.contains(content) || past.windows(2).any(|pair| in_part(&pair[0], &pair[1]))
}

fn torture(disk: &mut impl Disk, seed: u64, steps: usize) {
    let mut chance = Chance::new(seed);
    let mut model = Model::default();
    for folder in &FOLDERS[1..] {
        disk.folder(folder);
    }
    disk.sync_folder("");
    let mut lost = 0;
    for _ in 0..steps {
        let folder = FOLDERS[chance.index(3)];
        let place = (folder.to_owned(), NAMES[chance.index(5)].to_owned());
        let known = model.names.get(&place).copied();
        match (chance.below(100), known) {
            (0..20, None) => {
                disk.create(folder, &place.1);
                let id = model.next;
                model.next += 1;
                model.names.insert(place, id);
                model.content.insert(id, Vec::new());
                model.synced.insert(id, Vec::new());
                model.past.insert(id, vec![Vec::new()]);
            }
            (0..45, Some(id)) => {
                let content = model.content.get_mut(&id).unwrap();
                let append = chance.percent(60);
                let offset = if append { content.len() as u64 } else { chance.below(content.len() as u64 + 600) };
                let data: Vec<u8> = (0..chance.below(3000)).map(|_| u8::try_from(chance.below(256)).unwrap()).collect();
                disk.write(folder, &place.1, offset, &data);
                let (start, end) = (usize::try_from(offset).unwrap(), usize::try_from(offset).unwrap() + data.len());
                if !data.is_empty() {
                    content.resize(content.len().max(end), 0);
                    content[start..end].copy_from_slice(&data);
                }
                model.changed(id);
            }
            (45..52, Some(id)) => {
                let to = chance.below(5000);
                disk.resize(folder, &place.1, to);
                model.content.get_mut(&id).unwrap().resize(usize::try_from(to).unwrap(), 0);
                model.changed(id);
            }
            (52..60, Some(id)) => {
                let other = NAMES[chance.index(5)];
                if other != place.1 {
                    disk.rename(folder, &place.1, other);
                    model.names.remove(&place);
                    model.names.insert((place.0, other.to_owned()), id);
                }
            }
            (60..66, Some(_)) => {
                disk.remove(folder, &place.1);
                model.names.remove(&place);
            }
            (66..80, Some(id)) => {
                disk.sync_file(folder, &place.1);
                model.synced.insert(id, model.content[&id].clone());
                model.past.insert(id, vec![model.content[&id].clone()]);
            }
            (80..90, _) => {
                disk.sync_folder(folder);
                model.names_synced.retain(|(parent, _), _| parent != folder);
                let names = model.names.iter().filter(|((parent, _), _)| parent == folder);
                model.names_synced.extend(names.map(|(place, id)| (place.clone(), *id)));
            }
            (90..93, _) => {
                lost += disk.lose(Keep::Nothing, chance.draw());
                assert_eq!(disk.read(), model.durable(), "seed {seed}: what was synced, and nothing else");
                model.names = model.names_synced.clone();
                model.content = model.synced.clone();
                model.everything_is_durable();
            }
            (93..95, _) => {
                assert_eq!(disk.lose(Keep::Everything, chance.draw()), 0);
                assert_eq!(disk.read(), model.live(), "seed {seed}: everything");
                model.everything_is_durable();
            }
            (95..97, _) => {
                // Names first, so that each file can be found; then each content is one that the file had since its sync.
                for folder in FOLDERS {
                    disk.sync_folder(folder);
                }
                disk.lose(Keep::Prefix, chance.draw());
                let found = disk.read();
                assert_eq!(found.keys().collect::<Vec<_>>(), model.names.keys().collect::<Vec<_>>());
                for (place, content) in found {
                    let id = model.names[&place];
                    assert!(was_once(&model.past[&id], &content), "seed {seed}: {place:?} was never like this since its sync");
                    model.content.insert(id, content);
                }
                model.everything_is_durable();
            }
            _ => assert_eq!(disk.read(), model.live(), "seed {seed}: what processes see"),
        }
    }
    assert!(lost > 0 || steps < 500, "seed {seed}: the work must have lost something, or nothing is proven");
}

#[test]
fn what_was_synced_is_found_after_a_loss_of_power_and_nothing_else() {
    for seed in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        torture(&mut Direct(Volume::open(folder.path()).unwrap()), seed, 1500);
    }
}

fn mounted(folder: &Path) -> Option<ThroughKernel> {
    if let Some(reason) = unavailable() {
        eprintln!("skipped: {reason}");
        return None;
    }
    let at = folder.join("at");
    Some(ThroughKernel { mounted: Mounted::new(&folder.join("backing"), &at).unwrap(), at })
}

#[test]
fn the_same_holds_through_the_kernel() {
    for seed in 100..103 {
        let folder = tempfile::tempdir().unwrap();
        let Some(mut disk) = mounted(folder.path()) else { return };
        torture(&mut disk, seed, 1500);
        let at = disk.at.clone();
        assert!(mounted_at(&at));
        drop(disk);
        assert!(!mounted_at(&at), "the mount must not stay");
    }
}

#[test]
fn a_torn_write_ends_at_a_sector_and_is_the_first_that_is_missing() {
    let mut lengths = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let folder = tempfile::tempdir().unwrap();
        let mut volume = Volume::open(folder.path()).unwrap();
        let file = volume.create(ROOT, OsStr::new("wal"), 0o644, false).unwrap();
        volume.write(file, 0, &[1; 700]).unwrap();
        let began = volume.sync_begins().unwrap();
        volume.sync_folder(ROOT, began).unwrap();
        volume.sync_file(file, began).unwrap();
        volume.write(file, 700, &[2; 2000]).unwrap();
        volume.write(file, 2700, &[3; 2000]).unwrap();
        let Lost { changes, .. } = volume.lose_power(Keep::Nothing, true, &mut Chance::new(seed)).unwrap();
        assert_eq!(changes, 2);
        let found = fs::read(folder.path().join("live/wal")).unwrap();
        assert_eq!(found[..700], [1; 700]);
        assert!(found[700..].iter().all(|byte| *byte == 2), "only the first write may be there in part");
        assert!(found.len() == 700 || found.len() == 2700 || found.len().is_multiple_of(512), "{}", found.len());
        lengths.insert(found.len());
    }
    assert!(lengths.len() > 3, "chance must tear at different places: {lengths:?}");
}

#[test]
fn a_sync_that_failed_is_not_made_good_by_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut volume = Volume::open(folder.path()).unwrap();
    let file = volume.create(ROOT, OsStr::new("wal"), 0o644, false).unwrap();
    let began = volume.sync_begins().unwrap();
    volume.sync_folder(ROOT, began).unwrap();
    volume.write(file, 0, &[1; 10]).unwrap();
    volume.faults = Faults { eio_on_fsync: true, ..Faults::default() };
    let began = volume.sync_begins().unwrap();
    volume.sync_file(file, began).unwrap_err();
    volume.faults = Faults::default();
    volume.write(file, 10, &[2; 10]).unwrap();
    let began = volume.sync_begins().unwrap();
    volume.sync_file(file, began).unwrap();
    volume.lose_power(Keep::Everything, false, &mut Chance::new(1)).unwrap();
    let found = fs::read(folder.path().join("live/wal")).unwrap();
    assert_eq!(found, [[0; 10], [2; 10]].concat(), "the second write is there, the first one is a hole");
}

#[test]
fn a_sync_covers_what_was_written_before_it_began_and_fails_if_power_went_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let mut volume = Volume::open(folder.path()).unwrap();
    let file = volume.create(ROOT, OsStr::new("wal"), 0o644, false).unwrap();
    let began = volume.sync_begins().unwrap();
    volume.sync_folder(ROOT, began).unwrap();
    volume.write(file, 0, &[1; 10]).unwrap();
    let began = volume.sync_begins().unwrap();
    volume.write(file, 10, &[2; 10]).unwrap();
    let other = volume.sync_begins().unwrap();
    volume.sync_file(file, began).unwrap();
    volume.lose_power(Keep::Nothing, false, &mut Chance::new(1)).unwrap();
    volume.power_on();
    assert_eq!(fs::read(folder.path().join("live/wal")).unwrap(), [1; 10]);
    volume.sync_file(file, other).unwrap_err();
}

#[test]
fn a_full_disk_refuses_growth_only_until_there_is_room_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut volume = Volume::open(folder.path()).unwrap();
    let file = volume.create(ROOT, OsStr::new("one"), 0o644, false).unwrap();
    volume.write(file, 0, &[1; 1000]).unwrap();
    volume.faults.full_at = Some(1500);
    volume.write(file, 0, &[2; 1000]).unwrap();
    let full = volume.write(file, 1000, &[2; 1000]).unwrap_err();
    assert_eq!(full.raw_os_error(), Some(libc::ENOSPC));
    volume.remove(ROOT, OsStr::new("one"), false).unwrap();
    let other = volume.create(ROOT, OsStr::new("two"), 0o644, false).unwrap();
    volume.write(other, 0, &[2; 1000]).unwrap();
    assert_eq!(volume.used(), 1000);
}

#[test]
fn a_folder_that_was_never_synced_into_its_parent_is_lost_with_all_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut volume = Volume::open(folder.path()).unwrap();
    let db = volume.create(ROOT, OsStr::new("db"), 0o755, true).unwrap();
    let file = volume.create(db, OsStr::new("wal"), 0o644, false).unwrap();
    volume.write(file, 0, &[1; 10]).unwrap();
    let began = volume.sync_begins().unwrap();
    volume.sync_file(file, began).unwrap();
    volume.sync_folder(db, began).unwrap();
    volume.lose_power(Keep::Nothing, false, &mut Chance::new(1)).unwrap();
    assert_eq!((fs::read_dir(folder.path().join("live")).unwrap().count(), volume.used()), (0, 0));
}

#[test]
fn a_file_moved_between_folders_is_in_exactly_one_of_them() {
    for (synced, found_in) in [(None, "a"), (Some("a"), "b"), (Some("b"), "b")] {
        let folder = tempfile::tempdir().unwrap();
        let mut volume = Volume::open(folder.path()).unwrap();
        let folders: BTreeMap<&str, u64> =
            ["a", "b"].map(|name| (name, volume.create(ROOT, OsStr::new(name), 0o755, true).unwrap())).into_iter().collect();
        volume.create(folders["a"], OsStr::new("file"), 0o644, false).unwrap();
        for number in [ROOT, folders["a"], folders["b"]] {
            let began = volume.sync_begins().unwrap();
            volume.sync_folder(number, began).unwrap();
        }
        volume.rename((folders["a"], "file".into()), (folders["b"], "file".into()), false).unwrap();
        if let Some(name) = synced {
            let began = volume.sync_begins().unwrap();
            volume.sync_folder(folders[name], began).unwrap();
        }
        volume.lose_power(Keep::Nothing, false, &mut Chance::new(1)).unwrap();
        let there = ["a", "b"].into_iter().filter(|name| folder.path().join("live").join(name).join("file").exists());
        assert_eq!(there.collect::<Vec<_>>(), [found_in], "synced: {synced:?}");
    }
}

/// What a node's store holds under a key.
fn stored(store: &RocksDisk, key: u32) -> Option<Vec<u8>> {
    store.get(Table::Log, &key.to_be_bytes()).unwrap().map(|value| value.to_vec())
}

#[test]
fn what_a_node_synced_is_found_from_its_first_start_on() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = mounted(folder.path()) else { return };
    // The node makes its data folder by itself.
    let path = disk.at.join("data").join("db");
    for key in 0..5_u32 {
        let store = RocksDisk::open(&path, &RocksOptions::default()).unwrap();
        let found: Vec<bool> = (0..key).map(|key| stored(&store, key).is_some()).collect();
        assert!(found.iter().all(|found| *found), "after {key} losses of power: {found:?}");
        let mut batch = Batch::new();
        batch.put(Table::Log, key.to_be_bytes().to_vec(), vec![1; 100_000]);
        store.write(batch, Durability::Synced).unwrap();
        let mut batch = Batch::new();
        batch.put(Table::State, key.to_be_bytes().to_vec(), vec![2; 100_000]);
        store.write(batch, Durability::Buffered).unwrap();
        let answer = disk.mounted.follow(&Order::PowerLoss { keep: Keep::Nothing, torn: true, seed: u64::from(key), kill: None });
        assert_eq!(answer.error, "");
        // What it still wants to write fails.
        drop(store);
        disk.mounted.follow(&Order::PowerOn);
    }
}
