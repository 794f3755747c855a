//! What the commands of one apply call change, before it is written: later commands see what earlier ones did.

use std::{collections::BTreeMap, ops::ControlFlow};

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

impl Reader for Overlay<'_> {
    fn read(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.get(key)
    }

    /// The disk and what was changed since, merged in order.
    fn visit(
        &self,
        range: &(Bytes, Bytes),
        mut visitor: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        let mut changed = self.changed.range(range.0.clone()..range.1.clone()).peekable();
        let mut stopped = false;
        self.disk.visit(range, |key, value| {
            while let Some((new, new_value)) = changed.next_if(|(new, _)| new.as_ref() < key) {
                if let Some(new_value) = new_value
                    && visitor(new, new_value)?.is_break()
                {
                    stopped = true;
                    return Ok(ControlFlow::Break(()));
                }
            }
            let flow = match changed.next_if(|(new, _)| new.as_ref() == key) {
                Some((_, None)) => ControlFlow::Continue(()),
                Some((_, Some(new_value))) => visitor(key, new_value)?,
                None => visitor(key, value)?,
            };
            stopped = flow.is_break();
            Ok(flow)
        })?;
        if stopped {
            return Ok(());
        }
        for (key, value) in changed {
            if let Some(value) = value
                && visitor(key, value)?.is_break()
            {
                break;
            }
        }
        Ok(())
    }
}
