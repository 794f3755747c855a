//! A folder that behaves like a disk behind a page cache, without any kernel: the part that [`super::mount`] puts behind a mount, and that tests drive.
//!
//! What is modelled: data and size of files are durable after a sync of the file ([`super::journal`]), names after a sync of their folder
//! ([`super::names`]). Not modelled: times and permissions (always durable), hard and symbolic links (refused), the disk's own reordering within a sync,
//! and reads that fail.
//!
//! In the backing folder, `live` is what processes see, as plain files, and `gone` keeps removed files that a loss of power would bring back. A process that
//! serves the volume and dies loses nothing: only [`Volume::lose_power`] does.

mod power;

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use super::{
    faults::Faults,
    journal::Journal,
    names::{NameChange, Names, Place},
};

/// The root folder's number.
pub(super) const ROOT: u64 = 1;

/// A file or folder.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) parent: u64,
    name: OsString,
    /// It has no name any more.
    gone: bool,
    /// And never will have: it lives until the last process closes it.
    forgotten: bool,
    pub(super) folder: bool,
    pub(super) mode: u32,
    pub(super) size: u64,
    pub(super) changed: SystemTime,
    opens: u32,
    file: Option<Arc<File>>,
    journal: Journal,
}

/// What a loss of power took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Files that were not as synced.
    pub files: u64,
    /// Changes of files that are gone or torn.
    pub changes: u64,
    /// Changes of names that are gone.
    pub names: u64,
}

/// The volume.
#[derive(Debug)]
pub struct Volume {
    live: PathBuf,
    gone: PathBuf,
    nodes: BTreeMap<u64, Node>,
    tree: BTreeMap<Place, u64>,
    names: Names,
    next: u64,
    clock: u64,
    used: u64,
    /// The faults in force.
    pub faults: Faults,
    off: bool,
    /// Counts losses of power: a sync that began before one must not end well after it.
    epoch: u64,
}

fn errno(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

impl Volume {
    /// Opens the backing folder, or makes it.
    pub fn open(backing: &Path) -> io::Result<Self> {
        let (live, gone) = (backing.join("live"), backing.join("gone"));
        fs::create_dir_all(&live)?;
        if gone.exists() {
            fs::remove_dir_all(&gone)?;
        }
        fs::create_dir_all(&gone)?;
        let mut volume = Self {
            live,
            gone,
            nodes: BTreeMap::new(),
            tree: BTreeMap::new(),
            names: Names::default(),
            next: ROOT,
            clock: 0,
            used: 0,
            faults: Faults::default(),
            off: false,
            epoch: 0,
        };
        volume.add((0, OsString::new()), &fs::metadata(&volume.live)?);
        volume.read_folder(ROOT)?;
        Ok(volume)
    }

    fn read_folder(&mut self, folder: u64) -> io::Result<()> {
        for entry in fs::read_dir(self.path(folder)?)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if !metadata.is_dir() && !metadata.is_file() {
                return Err(io::Error::other(format!("{}: only files and folders are kept", entry.path().display())));
            }
            let node = self.add((folder, entry.file_name()), &metadata);
            if metadata.is_dir() {
                self.read_folder(node)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, place: Place, metadata: &fs::Metadata) -> u64 {
        let number = self.next;
        self.next += 1;
        let size = if metadata.is_dir() { 0 } else { metadata.len() };
        self.used += size;
        let node = Node {
            parent: place.0,
            name: place.1.clone(),
            gone: false,
            forgotten: false,
            folder: metadata.is_dir(),
            mode: metadata.mode() & 0o7777,
            size,
            changed: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            opens: 0,
            file: None,
            journal: Journal::default(),
        };
        self.nodes.insert(number, node);
        if number != ROOT {
            self.tree.insert(place, number);
        }
        number
    }

    /// Where the content of a node is.
    fn path(&self, number: u64) -> io::Result<PathBuf> {
        if number == ROOT {
            return Ok(self.live.clone());
        }
        let node = self.nodes.get(&number).ok_or_else(|| errno(libc::ENOENT))?;
        if node.gone { Ok(self.gone.join(number.to_string())) } else { Ok(self.path(node.parent)?.join(&node.name)) }
    }

    fn powered(&self) -> io::Result<()> {
        if self.off { Err(errno(libc::EIO)) } else { Ok(()) }
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    pub(super) fn node(&self, number: u64) -> io::Result<&Node> {
        self.powered()?;
        self.nodes.get(&number).ok_or_else(|| errno(libc::ENOENT))
    }

    fn node_mut(&mut self, number: u64) -> io::Result<&mut Node> {
        self.nodes.get_mut(&number).ok_or_else(|| errno(libc::ENOENT))
    }

    pub(super) fn find(&self, folder: u64, name: &OsStr) -> io::Result<u64> {
        self.powered()?;
        self.tree.get(&(folder, name.to_owned())).copied().ok_or_else(|| errno(libc::ENOENT))
    }

    /// Names in a folder.
    pub(super) fn list(&self, folder: u64) -> io::Result<Vec<(OsString, u64)>> {
        self.powered()?;
        let from = (folder, OsString::new());
        Ok(self
            .tree
            .range(from..)
            .take_while(|((parent, _), _)| *parent == folder)
            .map(|((_, name), node)| (name.clone(), *node))
            .collect())
    }

    /// Bytes of all files.
    pub fn used(&self) -> u64 {
        self.used
    }

    pub(super) fn create(&mut self, folder: u64, name: &OsStr, mode: u32, is_folder: bool) -> io::Result<u64> {
        self.powered()?;
        let place = (folder, name.to_owned());
        if self.tree.contains_key(&place) {
            return Err(errno(libc::EEXIST));
        }
        let path = self.path(folder)?.join(name);
        if is_folder {
            fs::create_dir(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        } else {
            File::options().write(true).create_new(true).mode(mode).open(&path)?;
        }
        let node = self.add(place.clone(), &fs::metadata(&path)?);
        let now = self.tick();
        self.names.push(now, NameChange::Created { at: place, node });
        Ok(node)
    }

    pub(super) fn remove(&mut self, folder: u64, name: &OsStr, is_folder: bool) -> io::Result<()> {
        let number = self.find(folder, name)?;
        if self.node(number)?.folder != is_folder {
            return Err(errno(if is_folder { libc::ENOTDIR } else { libc::EISDIR }));
        }
        if is_folder && !self.list(number)?.is_empty() {
            return Err(errno(libc::ENOTEMPTY));
        }
        let at = (folder, name.to_owned());
        self.hide(number)?;
        let now = self.tick();
        self.names.push(now, NameChange::Removed { at, node: number });
        Ok(())
    }

    /// Takes a node's name; its content waits.
    fn hide(&mut self, number: u64) -> io::Result<()> {
        let path = self.path(number)?;
        fs::rename(path, self.gone.join(number.to_string()))?;
        let node = self.node_mut(number)?;
        node.gone = true;
        let (place, size) = ((node.parent, node.name.clone()), node.size);
        self.tree.remove(&place);
        self.used -= size;
        Ok(())
    }

    /// Gives it back.
    fn show(&mut self, number: u64, place: Place) -> io::Result<()> {
        let from = self.path(number)?;
        fs::rename(from, self.path(place.0)?.join(&place.1))?;
        let node = self.node_mut(number)?;
        (node.gone, node.parent, node.name) = (false, place.0, place.1.clone());
        let size = node.size;
        self.tree.insert(place, number);
        self.used += size;
        Ok(())
    }

    pub(super) fn rename(&mut self, from: Place, to: Place, no_replace: bool) -> io::Result<()> {
        let number = self.find(from.0, &from.1)?;
        let replaced = self.tree.get(&to).copied();
        if replaced == Some(number) {
            return Ok(());
        }
        if let Some(other) = replaced {
            if no_replace {
                return Err(errno(libc::EEXIST));
            }
            let (is_folder, other_is_folder) = (self.node(number)?.folder, self.node(other)?.folder);
            if is_folder != other_is_folder {
                return Err(errno(if is_folder { libc::ENOTDIR } else { libc::EISDIR }));
            }
            if other_is_folder && !self.list(other)?.is_empty() {
                return Err(errno(libc::ENOTEMPTY));
            }
            self.hide(other)?;
        }
        self.move_to(number, to.clone())?;
        let now = self.tick();
        self.names.push(now, NameChange::Renamed { from, to, node: number, replaced });
        Ok(())
    }

    fn move_to(&mut self, number: u64, to: Place) -> io::Result<()> {
        let path = self.path(number)?;
        fs::rename(path, self.path(to.0)?.join(&to.1))?;
        let node = self.node_mut(number)?;
        let from = (node.parent, std::mem::replace(&mut node.name, to.1.clone()));
        node.parent = to.0;
        self.tree.remove(&from);
        self.tree.insert(to, number);
        Ok(())
    }

    /// A process opens a file.
    pub(super) fn opened(&mut self, number: u64) -> io::Result<()> {
        self.powered()?;
        self.file(number)?;
        self.node_mut(number)?.opens += 1;
        Ok(())
    }

    /// A process closes it; also after a loss of power, when the dead process's files are closed.
    pub(super) fn closed(&mut self, number: u64) {
        let Some(node) = self.nodes.get_mut(&number) else { return };
        node.opens = node.opens.saturating_sub(1);
        if node.opens > 0 {
            return;
        }
        node.file = None;
        if node.forgotten {
            self.nodes.remove(&number);
            // What can't be removed now goes at the next start.
            let _ = fs::remove_file(self.gone.join(number.to_string()));
        }
    }

    pub(super) fn file(&mut self, number: u64) -> io::Result<Arc<File>> {
        let path = self.path(number)?;
        let node = self.node_mut(number)?;
        if node.folder {
            return Err(errno(libc::EISDIR));
        }
        if let Some(file) = &node.file {
            return Ok(file.clone());
        }
        let file = Arc::new(File::options().read(true).write(true).open(path)?);
        if node.opens > 0 {
            node.file = Some(file.clone());
        }
        Ok(file)
    }

    /// The file to read from, without holding the volume.
    pub(super) fn reading(&mut self, number: u64) -> io::Result<Arc<File>> {
        self.powered()?;
        self.file(number)
    }

    /// Reads up to `size` bytes.
    pub(super) fn read_from(file: &File, offset: u64, size: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; size];
        let mut have = 0;
        while have < size {
            match file.read_at(&mut bytes[have..], offset + have as u64)? {
                0 => break,
                more => have += more,
            }
        }
        bytes.truncate(have);
        Ok(bytes)
    }

    fn room_for(&self, size: u64, end: u64) -> io::Result<()> {
        match self.faults.full_at {
            Some(limit) if end > size && self.used + (end - size) > limit => Err(errno(libc::ENOSPC)),
            _ => Ok(()),
        }
    }

    pub(super) fn write(&mut self, number: u64, offset: u64, data: &[u8]) -> io::Result<()> {
        self.powered()?;
        let size = self.node(number)?.size;
        self.room_for(size, offset + data.len() as u64)?;
        let (now, file) = (self.tick(), self.file(number)?);
        let node = self.node_mut(number)?;
        node.size = node.journal.write(now, &file, size, offset, data)?;
        node.changed = SystemTime::now();
        let (grown, gone) = (node.size - size, node.gone);
        self.used += if gone { 0 } else { grown };
        Ok(())
    }

    pub(super) fn resize(&mut self, number: u64, to: u64) -> io::Result<()> {
        self.powered()?;
        let size = self.node(number)?.size;
        self.room_for(size, to)?;
        let (now, file) = (self.tick(), self.file(number)?);
        let node = self.node_mut(number)?;
        node.journal.resize(now, &file, size, to)?;
        (node.size, node.changed) = (to, SystemTime::now());
        if !node.gone {
            self.used = self.used - size + to;
        }
        Ok(())
    }

    pub(super) fn set_mode(&mut self, number: u64, mode: u32) -> io::Result<()> {
        self.powered()?;
        fs::set_permissions(self.path(number)?, fs::Permissions::from_mode(mode & 0o7777))?;
        self.node_mut(number)?.mode = mode & 0o7777;
        Ok(())
    }

    /// A sync begins: what [`Volume::sync_file`] or [`Volume::sync_folder`] must be told when it is done.
    pub(super) fn sync_begins(&self) -> io::Result<(u64, u64)> {
        self.powered()?;
        Ok((self.clock, self.epoch))
    }

    pub(super) fn sync_file(&mut self, number: u64, (until, epoch): (u64, u64)) -> io::Result<()> {
        self.same_power(epoch)?;
        let fails = self.faults.eio_on_fsync;
        let node = self.node_mut(number)?;
        if fails {
            node.journal.doom();
            return Err(errno(libc::EIO));
        }
        node.journal.sync(until);
        Ok(())
    }

    pub(super) fn sync_folder(&mut self, folder: u64, (until, epoch): (u64, u64)) -> io::Result<()> {
        self.same_power(epoch)?;
        if self.faults.eio_on_fsync {
            return Err(errno(libc::EIO));
        }
        for change in self.names.sync(folder, until) {
            self.forget_removed(&change)?;
        }
        Ok(())
    }

    fn same_power(&self, epoch: u64) -> io::Result<()> {
        if self.off || self.epoch != epoch { Err(errno(libc::EIO)) } else { Ok(()) }
    }

    fn forget_removed(&mut self, change: &NameChange) -> io::Result<()> {
        let Some(number) = change.removed() else { return Ok(()) };
        let path = self.path(number)?;
        let node = self.node_mut(number)?;
        if node.folder {
            fs::remove_dir(path)?;
            self.nodes.remove(&number);
            // What was removed from it before can't come back either.
            for change in self.names.sync(number, u64::MAX) {
                self.forget_removed(&change)?;
            }
        } else if node.opens == 0 {
            fs::remove_file(path)?;
            self.nodes.remove(&number);
        } else {
            node.forgotten = true;
        }
        Ok(())
    }
}
