//! A disk in memory that forgets what was not synced, for simulations and tests.

use std::{collections::BTreeMap, ops::Bound, ops::ControlFlow, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Batch, Disk, DiskError, Durability, Op, Order, Table, View, Visit};

type Rows = BTreeMap<Bytes, Bytes>;

/// Three sorted maps, and the batches that no sync has covered yet.
///
/// Outlives the host that uses it: a simulation keeps it, calls [`MemoryDisk::crash`] when the host dies, and gives it to the next one.
#[derive(Default)]
pub struct MemoryDisk {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// What reads see.
    current: Tables,
    /// What survives.
    durable: Tables,
    /// What `current` has and `durable` lacks, in order.
    unsynced: Vec<Batch>,
    /// Everything fails from now on.
    broken: bool,
    /// Syncs do nothing.
    lying: bool,
}

/// Views share the maps; the first write while a view lives copies the map it changes.
#[derive(Clone, Default)]
struct Tables {
    rows: [Arc<Rows>; 3],
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// A disk that says that it synced, and did not: what a test that is worth something has to notice.
    pub fn lying() -> Self {
        Self { inner: Mutex::new(Inner { lying: true, ..Inner::default() }) }
    }

    /// The power fails: what was not synced is gone.
    pub fn crash(&self) {
        self.crash_keeping(0);
    }

    /// The power fails, but the first unsynced batches had reached the disk by themselves.
    pub fn crash_keeping(&self, batches: usize) {
        let mut inner = self.inner.lock();
        let unsynced = std::mem::take(&mut inner.unsynced);
        for batch in unsynced.into_iter().take(batches) {
            inner.durable.write(&batch);
        }
        inner.current = inner.durable.clone();
        inner.broken = false;
    }

    /// How many batches a crash would lose.
    pub fn unsynced_batches(&self) -> usize {
        self.inner.lock().unsynced.len()
    }

    /// Every write fails until the next crash.
    pub fn fail_writes(&self) {
        self.inner.lock().broken = true;
    }
}

impl Tables {
    fn write(&mut self, batch: &Batch) {
        for op in batch.ops() {
            match op {
                Op::Put(table, key, value) => {
                    self.rows_mut(*table).insert(key.clone(), value.clone());
                }
                Op::Delete(table, key) => {
                    self.rows_mut(*table).remove(key);
                }
                Op::DeleteRange(table, from, to) => {
                    let rows = self.rows_mut(*table);
                    let doomed: Vec<Bytes> = range(rows, from, to).map(|(key, _)| key.clone()).collect();
                    for key in doomed {
                        rows.remove(&key);
                    }
                }
            }
        }
    }

    fn rows_mut(&mut self, table: Table) -> &mut Rows {
        Arc::make_mut(&mut self.rows[table as usize])
    }

    fn get(&self, table: Table, key: &[u8]) -> Option<Bytes> {
        self.rows[table as usize].get(key).cloned()
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], order: Order, visit: Visit<'_>) {
        let rows = range(&self.rows[table as usize], from, to);
        let mut step = |(key, value): (&Bytes, &Bytes)| visit(key, value);
        let _stopped_early: ControlFlow<()> = match order {
            Order::Forward => { rows }.try_for_each(&mut step),
            Order::Reverse => rows.rev().try_for_each(&mut step),
        };
    }
}

fn range<'a>(rows: &'a Rows, from: &[u8], to: &[u8]) -> impl DoubleEndedIterator<Item = (&'a Bytes, &'a Bytes)> + use<'a> {
    // An inverted range is empty, not a panic of the map.
    let to = to.max(from);
    rows.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)))
}

impl Disk for MemoryDisk {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        Ok(self.inner.lock().current.get(table, key))
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], order: Order, visit: Visit<'_>) -> Result<(), DiskError> {
        // On a copy, so that the visitor may use the disk.
        let tables = self.inner.lock().current.clone();
        tables.scan(table, from, to, order, visit);
        Ok(())
    }

    fn write(&self, batch: Batch, durability: Durability) -> Result<(), DiskError> {
        let mut inner = self.inner.lock();
        if inner.broken {
            return Err(DiskError::Failed { operation: "write", reason: "the disk is broken".to_owned() });
        }
        inner.current.write(&batch);
        inner.unsynced.push(batch);
        if durability == Durability::Synced && !inner.lying {
            for batch in std::mem::take(&mut inner.unsynced) {
                inner.durable.write(&batch);
            }
        }
        Ok(())
    }

    fn view(&self) -> Box<dyn View> {
        Box::new(self.inner.lock().current.clone())
    }
}

impl View for Tables {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        Ok(self.get(table, key))
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], order: Order, visit: Visit<'_>) -> Result<(), DiskError> {
        Tables::scan(self, table, from, to, order, visit);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(disk: &MemoryDisk, key: &'static str, durability: Durability) {
        let mut batch = Batch::new();
        batch.put(Table::State, key, key);
        disk.write(batch, durability).unwrap();
    }

    fn keys(disk: &MemoryDisk, order: Order) -> Vec<String> {
        let mut keys = Vec::new();
        disk.scan(Table::State, b"", b"~", order, &mut |key, _| {
            keys.push(String::from_utf8(key.to_vec()).unwrap());
            ControlFlow::Continue(())
        })
        .unwrap();
        keys
    }

    #[test]
    fn a_crash_keeps_a_prefix_that_includes_what_was_synced() {
        let disk = MemoryDisk::new();
        put(&disk, "a", Durability::Buffered);
        put(&disk, "b", Durability::Synced);
        put(&disk, "c", Durability::Buffered);
        put(&disk, "d", Durability::Buffered);
        assert_eq!(keys(&disk, Order::Reverse), ["d", "c", "b", "a"]);
        assert_eq!(disk.unsynced_batches(), 2);
        disk.crash_keeping(1);
        assert_eq!(keys(&disk, Order::Forward), ["a", "b", "c"]);
        put(&disk, "e", Durability::Buffered);
        disk.crash();
        assert_eq!(keys(&disk, Order::Forward), ["a", "b", "c"]);
    }

    #[test]
    fn a_view_does_not_see_later_writes() {
        let disk = MemoryDisk::new();
        put(&disk, "a", Durability::Buffered);
        let view = disk.view();
        let mut batch = Batch::new();
        batch.delete_range(Table::State, "", "~");
        disk.write(batch, Durability::Synced).unwrap();
        assert!(keys(&disk, Order::Forward).is_empty());
        assert_eq!(view.get(Table::State, b"a").unwrap(), Some(Bytes::from("a")));
    }
}
