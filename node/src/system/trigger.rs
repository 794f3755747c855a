//! Triggers: what events from outside start.

use std::ops::ControlFlow;

use bytes::Bytes;
use prost::Message;
use quorus_proto::log::{ApplyTrigger, ChangeTrigger, StoredPause, StoredTrigger, TriggerChanged, change_trigger::Change};

use super::{SYSTEM_GROUP, overlay::Overlay, replica::At};
use crate::{
    codec,
    store::{
        StoreError,
        key::{Family, KeyReader, KeyWriter},
        reader::Reader,
    },
};

/// A part of the list of triggers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TriggerPage {
    /// Names and states.
    pub triggers: Vec<(String, StoredTrigger)>,
    /// Name after which the next page begins; `None` at the end.
    pub next: Option<String>,
}

fn key(namespace: &str, name: &str) -> Bytes {
    KeyWriter::new(SYSTEM_GROUP, Family::Trigger, namespace.len() + 1 + name.len()).text(namespace).last(name.as_bytes()).finish()
}

/// Makes or changes a trigger.
pub(super) fn apply(overlay: &mut Overlay<'_>, at: At, command: ApplyTrigger) -> Result<TriggerChanged, StoreError> {
    let key = key(&command.namespace, &command.name);
    let known = read(overlay, &key)?;
    let existed = known.is_some();
    if let Some(state) = known.as_ref().filter(|state| state.digest == command.digest) {
        return Ok(TriggerChanged { state: Some(state.clone()), existed, changed: false });
    }
    let mut state = known.unwrap_or_else(|| StoredTrigger {
        uid: at.index,
        created_by: command.principal.clone(),
        created_at_ms: at.time.0,
        ..StoredTrigger::default()
    });
    state.definition = command.definition;
    state.digest = command.digest;
    state.revision = at.index;
    state.applied_by = command.principal;
    state.applied_at_ms = at.time.0;
    overlay.put(key, state.encode_to_vec().into());
    Ok(TriggerChanged { state: Some(state), existed, changed: true })
}

/// Changes the state of a trigger.
pub(super) fn change(overlay: &mut Overlay<'_>, at: At, command: ChangeTrigger) -> Result<TriggerChanged, StoreError> {
    let key = key(&command.namespace, &command.name);
    let Some(mut state) = read(overlay, &key)? else { return Ok(TriggerChanged::default()) };
    match command.change {
        Some(Change::Delete(_)) => {
            overlay.delete(key);
            return Ok(TriggerChanged { state: None, existed: true, changed: true });
        }
        Some(Change::Pause(pause)) => {
            let since_ms = state.pause.as_ref().map_or(at.time.0, |known| known.since_ms);
            state.pause = Some(StoredPause { since_ms, principal: command.principal, reason: pause.reason });
        }
        Some(Change::Resume(_)) => state.pause = None,
        // Decoding refuses a command without one.
        None => {}
    }
    overlay.put(key, state.encode_to_vec().into());
    Ok(TriggerChanged { state: Some(state), existed: true, changed: true })
}

fn read(overlay: &Overlay<'_>, key: &Bytes) -> Result<Option<StoredTrigger>, StoreError> {
    Ok(overlay.get(key)?.map(|bytes| codec::decode("trigger", bytes)).transpose()?)
}

pub(super) fn get(reader: &(impl Reader + ?Sized), namespace: &str, name: &str) -> Result<Option<StoredTrigger>, StoreError> {
    Ok(reader.read(&key(namespace, name))?.map(|bytes| codec::decode("trigger", bytes)).transpose()?)
}

/// At most `limit` triggers whose names come after `after`.
pub(super) fn page(reader: &(impl Reader + ?Sized), namespace: &str, after: Option<&str>, limit: usize) -> Result<TriggerPage, StoreError> {
    let (first, end) = KeyWriter::new(SYSTEM_GROUP, Family::Trigger, namespace.len() + 1).text(namespace).range();
    let from = after.map_or(first, |after| [key(namespace, after).as_ref(), &[0]].concat().into());
    let mut page = TriggerPage::default();
    reader.visit(&(from, end), |key, value| {
        if page.triggers.len() == limit {
            page.next = page.triggers.last().map(|(name, _)| name.clone());
            return Ok(ControlFlow::Break(()));
        }
        let mut key = KeyReader::new(key)?;
        key.text()?;
        page.triggers.push((key.last_text()?.to_owned(), codec::decode("trigger", Bytes::copy_from_slice(value))?));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(page)
}
