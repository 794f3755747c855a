//! The volume as the kernel asks for it. Thin: numbers and errors are translated, nothing is decided.
//!
//! The kernel caches nothing that a loss of power could make wrong: names and attributes are asked for each time, writes arrive at once (no write-back
//! cache), and pages of a file are forgotten when it is opened.

use std::{
    ffi::OsStr,
    io,
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use parking_lot::Mutex;

use super::volume::{ROOT, Volume};

/// Nothing is cached.
const TTL: Duration = Duration::ZERO;
const BLOCK: u64 = 4096;
/// What the disk claims to be long without a limit.
const LENGTH: u64 = 1 << 40;

/// Answers the kernel.
pub(super) struct Kernel {
    volume: Arc<Mutex<Volume>>,
}

impl Kernel {
    pub(super) fn new(volume: Arc<Mutex<Volume>>) -> Self {
        Self { volume }
    }

    fn entry(&self, number: io::Result<u64>, reply: ReplyEntry) {
        let volume = self.volume.lock();
        match number.and_then(|number| attributes(&volume, number)) {
            Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
            Err(error) => reply.error(error.into()),
        }
    }

    /// Syncs at once or, if the disk is slow, later, without holding up others.
    fn sync(&self, number: u64, reply: ReplyEmpty, sync: fn(&mut Volume, u64, (u64, u64)) -> io::Result<()>) {
        let volume = self.volume.lock();
        let (began, delay) = (volume.sync_begins(), volume.faults.fsync_delay());
        drop(volume);
        let volume = self.volume.clone();
        after(delay, move || answer(began.and_then(|began| sync(&mut volume.lock(), number, began)), reply));
    }
}

fn after(delay: Duration, act: impl FnOnce() + Send + 'static) {
    if delay.is_zero() {
        act();
    } else {
        thread::spawn(move || {
            thread::sleep(delay);
            act();
        });
    }
}

fn answer(result: io::Result<()>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error.into()),
    }
}

fn attributes(volume: &Volume, number: u64) -> io::Result<FileAttr> {
    let node = volume.node(number)?;
    Ok(FileAttr {
        ino: INodeNo(number),
        size: node.size,
        blocks: node.size.div_ceil(512),
        atime: node.changed,
        mtime: node.changed,
        ctime: node.changed,
        crtime: node.changed,
        kind: if node.folder { FileType::Directory } else { FileType::RegularFile },
        perm: u16::try_from(node.mode & 0o7777).unwrap_or(0o644),
        nlink: if node.folder { 2 } else { 1 },
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: u32::try_from(BLOCK).unwrap_or(4096),
        flags: 0,
    })
}

impl Filesystem for Kernel {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let number = self.volume.lock().find(parent.0, name);
        self.entry(number, reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match attributes(&self.volume.lock(), ino.0) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(error) => reply.error(error.into()),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut volume = self.volume.lock();
        let changed = size.map_or(Ok(()), |size| volume.resize(ino.0, size));
        let changed = changed.and_then(|()| mode.map_or(Ok(()), |mode| volume.set_mode(ino.0, mode)));
        match changed.and_then(|()| attributes(&volume, ino.0)) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(error) => reply.error(error.into()),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let number = self.volume.lock().create(parent.0, name, mode & 0o7777 & !umask, true);
        self.entry(number, reply);
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, _: i32, reply: ReplyCreate) {
        let mut volume = self.volume.lock();
        let created = volume.create(parent.0, name, mode & 0o7777 & !umask, false).and_then(|number| {
            volume.opened(number)?;
            attributes(&volume, number)
        });
        match created {
            Ok(attr) => reply.created(&TTL, &attr, Generation(0), FileHandle(0), FopenFlags::empty()),
            Err(error) => reply.error(error.into()),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(self.volume.lock().remove(parent.0, name, false), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(self.volume.lock().remove(parent.0, name, true), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if flags.contains(RenameFlags::RENAME_EXCHANGE) {
            return reply.error(Errno::EINVAL);
        }
        let no_replace = flags.contains(RenameFlags::RENAME_NOREPLACE);
        answer(self.volume.lock().rename((parent.0, name.to_owned()), (newparent.0, newname.to_owned()), no_replace), reply);
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.volume.lock().opened(ino.0) {
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::empty()),
            Err(error) => reply.error(error.into()),
        }
    }

    fn read(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, size: u32, _: OpenFlags, _: Option<LockOwner>, reply: ReplyData) {
        let file = self.volume.lock().reading(ino.0);
        match file.and_then(|file| Volume::read_from(&file, offset, size as usize)) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error.into()),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut volume = self.volume.lock();
        let written = volume.write(ino.0, offset, data);
        let delay = volume.faults.write_delay();
        drop(volume);
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        after(delay, move || match written {
            Ok(()) => reply.written(length),
            Err(error) => reply.error(error.into()),
        });
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(&self, _: &Request, ino: INodeNo, _: FileHandle, _: OpenFlags, _: Option<LockOwner>, _: bool, reply: ReplyEmpty) {
        self.volume.lock().closed(ino.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.sync(ino.0, reply, Volume::sync_file);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.sync(ino.0, reply, Volume::sync_folder);
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let volume = self.volume.lock();
        let listed = match volume.list(ino.0) {
            Ok(listed) => listed,
            Err(error) => return reply.error(error.into()),
        };
        let parent = volume.node(ino.0).map_or(ROOT, |node| node.parent.max(ROOT));
        let dots = [(".".into(), ino.0), ("..".into(), parent)];
        for (at, (name, number)) in dots.into_iter().chain(listed).enumerate().skip(usize::try_from(offset).unwrap_or(usize::MAX)) {
            let folder = volume.node(number).is_ok_and(|node| node.folder);
            let kind = if folder { FileType::Directory } else { FileType::RegularFile };
            if reply.add(INodeNo(number), at as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let volume = self.volume.lock();
        let length = volume.faults.full_at.unwrap_or(LENGTH);
        let free = length.saturating_sub(volume.used()) / BLOCK;
        reply.statfs(length / BLOCK, free, free, 1 << 20, 1 << 20, u32::try_from(BLOCK).unwrap_or(4096), 255, 0);
    }

    fn access(&self, _: &Request, _: INodeNo, _: fuser::AccessFlags, reply: ReplyEmpty) {
        reply.ok();
    }

    /// Space is not set aside: programs that ask for it do without.
    fn fallocate(&self, _: &Request, _: INodeNo, _: FileHandle, _: u64, _: u64, _: i32, reply: ReplyEmpty) {
        reply.error(Errno::EOPNOTSUPP);
    }
}
