//! The disk in life: RocksDB with three column families and one write-ahead log.
//!
//! A synced write is a plain write followed by one sync of the write-ahead log, so that the writes of applied state never wait behind an fsync.
//!
//! RocksDB recovers up to the first damaged record of its write-ahead log and forgets the rest. After a loss of power that is right for the end that
//! was never synced, and wrong for anything before. The file `SYNCED` tells the two apart: it holds the sequence number that the last fsync
//! covered, and [`RocksDisk::open`] refuses a database that ends before it. The mark itself is not synced (it would cost a second fsync), so after a loss
//! of power it may be older than the truth; it is never younger.
//!
//! That the file is there at all, and durably, says that the database was once made whole: from then on a column family that is missing is damage (of the
//! MANIFEST), and is never made again as an empty one.

use std::{
    fs::File,
    mem::ManuallyDrop,
    ops::ControlFlow,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Arc, Once,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use rocksdb::{
    BlockBasedOptions, BoundColumnFamily, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, DBRawIteratorWithThreadMode,
    DBRecoveryMode, Options, ReadOptions, Snapshot, WriteBatch, WriteOptions,
};

use super::{Batch, Disk, DiskError, Durability, Op, Order, Table, View, Visit};

/// Name of the file with the mark, in the data folder.
const MARK_FILE: &str = "SYNCED";

/// Sizes. The defaults suit a node with 1 GiB or more.
#[derive(Clone, Debug)]
pub struct RocksOptions {
    /// Cache for blocks of all tables, in bytes.
    pub block_cache_bytes: usize,
    /// A memtable of the log, in bytes; up to four are kept. Most entries are purged before they leave it.
    pub log_buffer_bytes: usize,
    /// A memtable of the state, in bytes; up to four are kept.
    pub state_buffer_bytes: usize,
    /// Old write-ahead logs are freed, by flushing, above this size.
    pub wal_bytes_max: u64,
    /// Threads for flushes and compactions.
    pub background_jobs: i32,
}

impl Default for RocksOptions {
    fn default() -> Self {
        Self {
            block_cache_bytes: 64 << 20,
            log_buffer_bytes: 32 << 20,
            state_buffer_bytes: 32 << 20,
            wal_bytes_max: 512 << 20,
            background_jobs: 2,
        }
    }
}

/// RocksDB with three column families and one write-ahead log.
pub struct RocksDisk {
    db: Arc<DB>,
    mark: Mark,
    /// Last, so that it is dropped after the database.
    _open: OpenDatabase,
}

/// Databases that are open in this process.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// Counts an open database.
///
/// RocksDB's static objects are destroyed when the process exits. A database that another thread is only then closing would use them and abort, so
/// the exit waits a moment for the last one to be closed.
struct OpenDatabase;

impl OpenDatabase {
    /// After the database was opened: what exits run is the reverse of what was registered, and opening is what makes the static objects.
    fn count() -> Self {
        static REGISTERED: Once = Once::new();
        // SAFETY: the function takes nothing, does not unwind, and touches only an atomic and the clock.
        #[expect(unsafe_code, reason = "the standard library has no way to run something at exit")]
        REGISTERED.call_once(|| unsafe {
            libc::atexit(wait_for_closing);
        });
        OPEN.fetch_add(1, Ordering::AcqRel);
        Self
    }
}

impl Drop for OpenDatabase {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::AcqRel);
    }
}

extern "C" fn wait_for_closing() {
    for _ in 0..500 {
        if OPEN.load(Ordering::Acquire) == 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl RocksDisk {
    /// Opens the database in a folder, or makes it.
    ///
    /// # Errors
    /// [`DiskError::LostWrites`] if durable writes are missing, else what RocksDB says.
    pub fn open(path: impl AsRef<Path>, options: &RocksOptions) -> Result<Self, DiskError> {
        let path = path.as_ref();
        make_folder(path).map_err(|error| failed("make the data folder", &error))?;
        let cache = Cache::new_hyper_clock_cache(options.block_cache_bytes, 0);
        let families = Table::ALL.map(|table| ColumnFamilyDescriptor::new(name(table), family_options(table, options, &cache)));
        let mut database = database_options(options);
        database.create_missing_column_families(!Mark::is_there(path).map_err(|error| failed("look for the mark", &error))?);
        let db = DB::open_cf_descriptors(&database, path, families).map_err(|error| failed("open", &error))?;
        let mark = Mark::open(path)?;
        let found = db.latest_sequence_number();
        let synced = mark.last.load(Ordering::Relaxed);
        if found < synced {
            return Err(DiskError::LostWrites { path: path.display().to_string(), found, synced });
        }
        Ok(Self { db: Arc::new(db), mark, _open: OpenDatabase::count() })
    }

    fn family(&self, table: Table) -> Result<Arc<BoundColumnFamily<'_>>, DiskError> {
        family(&self.db, table)
    }
}

/// Makes the folder, and makes its name as durable as what will be in it: RocksDB syncs its own folder, but not the ones above. Without this, a loss of
/// power soon after the first start could leave an empty data folder, as if the node had never promised anything.
fn make_folder(path: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(path)?;
    for (above, folder) in path.ancestors().skip(1).take(2).enumerate() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        match File::open(folder).and_then(|opened| opened.sync_all()) {
            // Further up, a folder that this user may not read was not made by this user either.
            Err(error) if above > 0 && error.kind() == std::io::ErrorKind::PermissionDenied => {}
            done => done?,
        }
    }
    Ok(())
}

fn database_options(options: &RocksOptions) -> Options {
    let mut database = Options::default();
    database.create_if_missing(true);
    database.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    database.set_track_and_verify_wals_in_manifest(true);
    database.set_max_total_wal_size(options.wal_bytes_max);
    database.set_wal_bytes_per_sync(512 << 10);
    database.set_bytes_per_sync(1 << 20);
    database.set_max_background_jobs(options.background_jobs);
    database.set_max_open_files(-1);
    database.set_keep_log_file_num(4);
    database.set_max_log_file_size(8 << 20);
    database
}

fn family_options(table: Table, options: &RocksOptions, cache: &Cache) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut family = Options::default();
    family.set_max_write_buffer_number(4);
    match table {
        Table::Log => {
            family.set_write_buffer_size(options.log_buffer_bytes);
            family.set_level_zero_slowdown_writes_trigger(40);
            family.set_level_zero_stop_writes_trigger(60);
            family.set_compression_type(DBCompressionType::None);
        }
        Table::Meta => {
            family.set_write_buffer_size(4 << 20);
            family.set_compression_type(DBCompressionType::None);
        }
        Table::State => {
            blocks.set_bloom_filter(10.0, false);
            family.set_write_buffer_size(options.state_buffer_bytes);
            family.set_compression_type(DBCompressionType::Lz4);
            family.set_bottommost_compression_type(DBCompressionType::Zstd);
        }
    }
    family.set_block_based_table_factory(&blocks);
    family
}

impl Disk for RocksDisk {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        let value = self.db.get_cf(&self.family(table)?, key).map_err(|error| failed("get", &error))?;
        Ok(value.map(Bytes::from))
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], order: Order, visit: Visit<'_>) -> Result<(), DiskError> {
        let rows = self.db.raw_iterator_cf_opt(&self.family(table)?, bounds(from, to));
        walk(rows, order, visit)
    }

    fn write(&self, batch: Batch, durability: Durability) -> Result<(), DiskError> {
        let mut writes = WriteBatch::with_capacity_bytes(batch.len_bytes() + 32 * batch.ops().len());
        let families = [self.family(Table::Log)?, self.family(Table::Meta)?, self.family(Table::State)?];
        for op in batch.ops() {
            match op {
                Op::Put(table, key, value) => writes.put_cf(&families[*table as usize], key, value),
                Op::Delete(table, key) => writes.delete_cf(&families[*table as usize], key),
                Op::DeleteRange(table, from, to) => writes.delete_range_cf(&families[*table as usize], from, to),
            }
        }
        self.db.write_opt(writes, &WriteOptions::default()).map_err(|error| failed("write", &error))?;
        if durability == Durability::Synced {
            let sequence = self.db.latest_sequence_number();
            self.db.flush_wal(true).map_err(|error| failed("sync the write-ahead log", &error))?;
            self.mark.set(sequence)?;
        }
        Ok(())
    }

    fn view(&self) -> Box<dyn View> {
        Box::new(RocksView::new(&self.db))
    }
}

fn name(table: Table) -> &'static str {
    match table {
        Table::Log => "log",
        Table::Meta => "meta",
        Table::State => "state",
    }
}

fn family(db: &DB, table: Table) -> Result<Arc<BoundColumnFamily<'_>>, DiskError> {
    db.cf_handle(name(table))
        .ok_or_else(|| DiskError::Failed { operation: "open a column family", reason: format!("{} is missing", name(table)) })
}

fn failed(operation: &'static str, error: &dyn std::error::Error) -> DiskError {
    DiskError::Failed { operation, reason: error.to_string() }
}

fn bounds(from: &[u8], to: &[u8]) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(from);
    // An inverted range is empty.
    options.set_iterate_upper_bound(to.max(from));
    options
}

fn walk(mut rows: DBRawIteratorWithThreadMode<'_, DB>, order: Order, visit: Visit<'_>) -> Result<(), DiskError> {
    match order {
        Order::Forward => rows.seek_to_first(),
        Order::Reverse => rows.seek_to_last(),
    }
    while let Some((key, value)) = rows.item() {
        if visit(key, value) == ControlFlow::Break(()) {
            return Ok(());
        }
        match order {
            Order::Forward => rows.next(),
            Order::Reverse => rows.prev(),
        }
    }
    rows.status().map_err(|error| failed("scan", &error))
}

/// A RocksDB snapshot that keeps its database alive.
struct RocksView {
    /// Borrows from `db`; dropped before it, in `drop`.
    snapshot: ManuallyDrop<Snapshot<'static>>,
    db: Arc<DB>,
}

#[expect(unsafe_code, reason = "a snapshot that owns its database; the crate only offers one that borrows it")]
impl RocksView {
    fn new(db: &Arc<DB>) -> Self {
        let snapshot = db.snapshot();
        // SAFETY: the snapshot refers to the DB inside the Arc, whose address is stable and which `db` keeps alive until after the snapshot is
        // dropped in `drop`; the lifetime is not visible outside this type.
        let snapshot = unsafe { std::mem::transmute::<Snapshot<'_>, Snapshot<'static>>(snapshot) };
        Self { snapshot: ManuallyDrop::new(snapshot), db: Arc::clone(db) }
    }
}

#[expect(unsafe_code, reason = "see `RocksView::new`")]
impl Drop for RocksView {
    fn drop(&mut self) {
        // SAFETY: dropped once, here, while `db` is still alive.
        unsafe { ManuallyDrop::drop(&mut self.snapshot) };
    }
}

impl View for RocksView {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        let value = self.snapshot.get_cf(&family(&self.db, table)?, key).map_err(|error| failed("get", &error))?;
        Ok(value.map(Bytes::from))
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], order: Order, visit: Visit<'_>) -> Result<(), DiskError> {
        let rows = self.snapshot.raw_iterator_cf_opt(&family(&self.db, table)?, bounds(from, to));
        walk(rows, order, visit)
    }
}

/// The file that holds how far the write-ahead log is synced: the sequence number, and its complement as a check.
struct Mark {
    file: File,
    last: AtomicU64,
}

impl Mark {
    fn is_there(folder: &Path) -> std::io::Result<bool> {
        folder.join(MARK_FILE).try_exists()
    }

    /// Opens the mark of a database that is whole.
    fn open(folder: &Path) -> Result<Self, DiskError> {
        let is_new = !Self::is_there(folder).map_err(|error| failed("look for the mark", &error))?;
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.join(MARK_FILE))
            .map_err(|error| failed("open the mark", &error))?;
        let mut stored = [0; 16];
        let last = match file.read_exact_at(&mut stored, 0) {
            Ok(()) => {
                let [value, check] = [0, 8].map(|at| u64::from_be_bytes(std::array::from_fn(|i| stored[at + i])));
                // A mark that was torn by a loss of power says nothing.
                if value == !check { value } else { 0 }
            }
            Err(_) => 0,
        };
        if is_new {
            file.sync_all().and_then(|()| File::open(folder)?.sync_all()).map_err(|error| failed("sync the mark", &error))?;
        }
        Ok(Self { file, last: AtomicU64::new(last) })
    }

    fn set(&self, sequence: u64) -> Result<(), DiskError> {
        if self.last.fetch_max(sequence, Ordering::Relaxed) >= sequence {
            return Ok(());
        }
        let mut stored = [0; 16];
        stored[..8].copy_from_slice(&sequence.to_be_bytes());
        stored[8..].copy_from_slice(&(!sequence).to_be_bytes());
        self.file.write_all_at(&stored, 0).map_err(|error| failed("write the mark", &error))
    }
}

#[cfg(test)]
mod tests;
