//! Which limits a task counts against.

use std::collections::{BTreeMap, BTreeSet};

use quorus_engine::{Payload, PlannedStep, PlannedTask, RunInfo};

use super::{KeyTemplate, LimitSpec, LimitTarget};
use crate::dispatch::{LimitRef, LimitRefs};

/// All limits in force, by what they apply to.
#[derive(Clone, Debug, Default)]
pub struct LimitRules {
    limits: BTreeMap<String, (LimitSpec, KeyTemplate)>,
    by_type: BTreeMap<String, Vec<String>>,
    by_host: BTreeMap<String, Vec<String>>,
}

impl LimitRules {
    /// The rules of these limits.
    pub fn new<'a>(limits: impl Iterator<Item = &'a LimitSpec>) -> Self {
        let mut rules = Self::default();
        for limit in limits {
            match &limit.target {
                LimitTarget::Named => {}
                LimitTarget::TaskType(task_type) => rules.by_type.entry(task_type.clone()).or_default().push(limit.name.clone()),
                LimitTarget::Host(host) => rules.by_host.entry(host.clone()).or_default().push(limit.name.clone()),
            }
            // A key that can't be read was refused when the limit was applied; a newer version's counts as one for all.
            let key = KeyTemplate::parse(&limit.key).unwrap_or_default();
            rules.limits.insert(limit.name.clone(), (limit.clone(), key));
        }
        rules
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.limits.is_empty()
    }

    /// A limit.
    pub fn get(&self, name: &str) -> Option<&LimitSpec> {
        self.limits.get(name).map(|(limit, _)| limit)
    }

    /// All limits, by name.
    pub fn all(&self) -> impl Iterator<Item = &LimitSpec> {
        self.limits.values().map(|(limit, _)| limit)
    }

    /// True if a task may count against a limit: [`LimitRules::refs`] tells.
    pub fn concern(&self, step: &PlannedStep, task: &PlannedTask) -> bool {
        !self.is_empty()
            && (step.limits.iter().any(|name| self.limits.contains_key(name))
                || self.by_type.contains_key(&task.task_type)
                || (task.builtin.is_some() && !self.by_host.is_empty()))
    }

    /// The limits that a task of a run counts against. Those that a step names and nobody has made bind nobody.
    pub fn refs(&self, step: &PlannedStep, task: &PlannedTask, info: &RunInfo, input: Option<&Payload>) -> LimitRefs {
        if !self.concern(step, task) {
            return LimitRefs::default();
        }
        let mut names: BTreeSet<&String> = step.limits.iter().chain(self.by_type.get(&task.task_type).into_iter().flatten()).collect();
        if task.builtin.is_some() && !self.by_host.is_empty() {
            names.extend(hosts(input).iter().filter_map(|host| self.by_host.get(host)).flatten());
        }
        let known = names.into_iter().filter_map(|name| self.limits.get(name));
        known.map(|(limit, key)| LimitRef { limit: limit.name.clone(), key: key.render(info) }).collect()
    }
}

/// The hosts that the request of a built-in executor calls: every `url` in it.
fn hosts(input: Option<&Payload>) -> BTreeSet<String> {
    let mut hosts = BTreeSet::new();
    if let Some(value) = input.and_then(|input| serde_json::from_slice::<serde_json::Value>(&input.data).ok()) {
        collect(&value, &mut hosts);
    }
    hosts
}

fn collect(value: &serde_json::Value, hosts: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(members) => {
            for (name, member) in members {
                if matches!(name.as_str(), "url" | "http")
                    && let Some(host) = member.as_str().and_then(host)
                {
                    hosts.insert(host.to_owned());
                } else if name != "body" && name != "data" {
                    collect(member, hosts);
                }
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, hosts)),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) | serde_json::Value::String(_) => {}
    }
}

/// The host of a URL, without port.
fn host(url: &str) -> Option<&str> {
    let authority = url.split_once("://")?.1.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if let Some(bracketed) = authority.strip_prefix('[') {
        return bracketed.split(']').next();
    }
    authority.split(':').next().filter(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_wherever_a_request_has_a_url() {
        let request = serde_json::json!({
            "queries": {"a": {"http": {"url": "https://one.example:8080/x"}}, "b": {"prometheus": {"url": "http://user@[::1]:9090/"}}},
            "sinks": [{"http": "https://two.example?q"}],
            "body": {"url": "https://not.example"},
        });
        let found = hosts(Some(&Payload::json(&request)));
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["::1", "one.example", "two.example"]);
        assert!(hosts(None).is_empty());
    }
}
