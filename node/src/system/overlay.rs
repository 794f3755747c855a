//! What the commands of one apply call change, before it is written: later commands see what earlier ones did.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorus_raft::disk::{Batch, Disk, Table};

use crate::store::{StoreError, reader::Reader};

/// Changed keys over a disk. Commands of the system group are rare, so keys and values are enough.
pub(super) struct Overlay<'a> {
    disk: &'a dyn Disk,
    /// New value, or `None` for a removal.
    changed: BTreeMap<Bytes, Option<Bytes>>,
}

impl<'a> Overlay<'a> {
    pub(super) fn new(disk: &'a dyn Disk) -> Self {
        Self { disk, changed: BTreeMap::new() }
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match self.changed.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.disk.read(key),
        }
    }

    pub(super) fn put(&mut self, key: Bytes, value: Bytes) {
        self.changed.insert(key, Some(value));
    }

    pub(super) fn delete(&mut self, key: Bytes) {
        self.changed.insert(key, None);
    }

    pub(super) fn write(self, batch: &mut Batch) {
        for (key, value) in self.changed {
            match value {
                Some(value) => batch.put(Table::State, key, value),
                None => batch.delete(Table::State, key),
            }
        }
    }
}
