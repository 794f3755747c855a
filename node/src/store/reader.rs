//! Reading of the state table, from the disk as it is or from a view of a moment.

use std::ops::ControlFlow;

use bytes::Bytes;
use quorus_raft::disk::{Disk, Order, Table, View};

use super::StoreError;

/// Reads the state table.
pub(crate) trait Reader {
    fn read(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Visits the keys of a range in order; stops at the visitor's first break or error.
    fn visit(
        &self,
        range: &(Bytes, Bytes),
        visitor: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError>;
}

impl Reader for dyn Disk {
    fn read(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(Disk::get(self, Table::State, key)?)
    }

    fn visit(
        &self,
        range: &(Bytes, Bytes),
        mut visitor: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        let mut failed = None;
        Disk::scan(self, Table::State, &range.0, &range.1, Order::Forward, &mut |key, value| step(&mut failed, visitor(key, value)))?;
        failed.map_or(Ok(()), Err)
    }
}

impl Reader for dyn View {
    fn read(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(View::get(self, Table::State, key)?)
    }

    fn visit(
        &self,
        range: &(Bytes, Bytes),
        mut visitor: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        let mut failed = None;
        View::scan(self, Table::State, &range.0, &range.1, Order::Forward, &mut |key, value| step(&mut failed, visitor(key, value)))?;
        failed.map_or(Ok(()), Err)
    }
}

fn step(failed: &mut Option<StoreError>, result: Result<ControlFlow<()>, StoreError>) -> ControlFlow<()> {
    result.unwrap_or_else(|error| {
        *failed = Some(error);
        ControlFlow::Break(())
    })
}
