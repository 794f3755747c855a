//! Who gets the room of a worker: leaders at which tasks wait that it could take, then everybody evenly.

use std::collections::BTreeMap;

use quorus_proto::peer::{self, LinkRequest, link_request::Message};

use super::Book;

impl Book {
    /// Grants free room: to leaders at which tasks wait, then evenly.
    pub(super) fn distribute(&mut self, id: u64) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let mut free = u32::try_from(session.free()).unwrap_or(0);
        if free == 0 || self.links.is_empty() {
            return;
        }
        let mut grants: BTreeMap<u64, u32> = BTreeMap::new();
        let wanted: BTreeMap<u64, u32> = self.links.keys().map(|node| (*node, session.wanted_by(self.demand.get(node)))).collect();
        let wants = |node: &u64| wanted.get(node).copied().unwrap_or(0);
        let idle = |node: &u64| session.idle.get(node).copied().unwrap_or(0);
        let after_last = |node: &u64| (*node <= session.last_granted, *node);
        let mut needy: Vec<u64> = self.links.keys().copied().filter(|node| wants(node) > idle(node)).collect();
        needy.sort_by_key(after_last);
        while free > 0 && !needy.is_empty() {
            needy.retain(|node| {
                let granted = grants.entry(*node).or_default();
                if free == 0 || wants(node) <= idle(node) + *granted {
                    return false;
                }
                *granted += 1;
                free -= 1;
                session.last_granted = *node;
                true
            });
        }
        while free > 0 {
            let has = |node: &u64| session.idle.get(node).copied().unwrap_or(0) + grants.get(node).copied().unwrap_or(0);
            let Some(node) = self.links.keys().copied().min_by_key(|node| (has(node), *node)) else { break };
            *grants.entry(node).or_default() += 1;
            session.last_granted = node;
            free -= 1;
        }
        for (node, credits) in grants.into_iter().filter(|(_, credits)| *credits > 0) {
            *session.idle.entry(node).or_default() += credits;
            if let Some(link) = self.links.get(&node) {
                link.send(LinkRequest { message: Some(Message::Grant(peer::GrantCredits { session: id, credits })) }).ok();
            }
        }
    }

    pub(super) fn distribute_all(&mut self) {
        for id in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.distribute(id);
        }
    }

    /// Asks for credits back, for the sake of leaders at which tasks wait: idle ones of leaders at which none do; and for a leader that has no room at
    /// all, one of whoever has most, to be paid when one of its tasks ends.
    pub(super) fn recall(&mut self, id: u64) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let wanted: BTreeMap<u64, u32> = self.links.keys().map(|node| (*node, session.wanted_by(self.demand.get(node)))).collect();
        let wants = |node: &u64| wanted.get(node).copied().unwrap_or(0);
        let idle = |node: &u64| session.idle.get(node).copied().unwrap_or(0);
        let mut missing: u32 = self.links.keys().map(|node| wants(node).saturating_sub(idle(node))).sum();
        missing = missing.saturating_sub(session.recalled.values().sum());
        let mut recalls: BTreeMap<u64, u32> = BTreeMap::new();
        for node in self.links.keys().filter(|node| wants(node) == 0 && !session.recalled.contains_key(node)) {
            let credits = idle(node).min(missing);
            if credits > 0 {
                missing -= credits;
                recalls.insert(*node, credits);
            }
        }
        let starving = self.links.keys().any(|node| wants(node) > 0 && session.room(*node) == 0);
        if starving && missing > 0 && recalls.is_empty() && session.recalled.is_empty() {
            let richest = self.links.keys().copied().max_by_key(|node| session.room(*node)).filter(|node| session.room(*node) > 0);
            recalls.extend(richest.map(|node| (node, 1)));
        }
        for (node, credits) in recalls {
            session.recalled.insert(node, credits);
            if let Some(link) = self.links.get(&node) {
                link.send(LinkRequest { message: Some(Message::Recall(peer::RecallCredits { session: id, credits })) }).ok();
            }
        }
    }

    /// Takes credits back when more is granted than there is room for.
    pub(super) fn shrink(&mut self, id: u64) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let mut surplus = u32::try_from(-session.free()).unwrap_or(0);
        for (node, link) in &self.links {
            let idle = session.idle.get(node).copied().unwrap_or(0);
            let credits = idle.min(surplus);
            if credits == 0 || session.recalled.contains_key(node) {
                continue;
            }
            surplus -= credits;
            session.recalled.insert(*node, credits);
            link.send(LinkRequest { message: Some(Message::Recall(peer::RecallCredits { session: id, credits })) }).ok();
        }
    }
}
