//! Compiled plans by the digest of their definition: bounded, shared by all runs.
//!
//! A plan is a function of the stored definition, so it is compiled on demand and never stored itself.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message;
use quorus_engine::Plan;
use quorus_proto::v1::Workflow;

use crate::store::{ShardStore, StoreError};

/// Plans kept at a time.
const PLANS_MAX: usize = 256;

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The store can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The shard does not have the definition that a run names.
    #[error("the shard has no definition with digest {0}")]
    Missing(String),
    /// It is there, but does not compile: it was accepted by another version.
    #[error("the stored definition {digest} can't be used by this version: {why}")]
    Unusable {
        /// Its digest.
        digest: String,
        /// What is wrong.
        why: String,
    },
}

/// The plans. Cheap to clone.
#[derive(Clone, Default)]
pub struct PlanCache {
    plans: Arc<Mutex<Plans>>,
}

#[derive(Default)]
struct Plans {
    used: u64,
    plans: BTreeMap<[u8; 32], (u64, Arc<Plan>)>,
}

impl PlanCache {
    /// The plan of a definition that a shard stores.
    ///
    /// # Errors
    /// If the definition is not there, or does not compile.
    pub fn get(&self, store: &ShardStore, digest: &[u8; 32]) -> Result<Arc<Plan>, PlanError> {
        if let Some(plan) = self.cached(digest) {
            return Ok(plan);
        }
        let definition = store.definition(digest)?.ok_or_else(|| PlanError::Missing(quorus_spec::digest_hex(digest)))?;
        self.compile(digest, definition)
    }

    /// The plan of a definition at hand.
    ///
    /// # Errors
    /// If it does not compile.
    pub fn compile(&self, digest: &[u8; 32], definition: Bytes) -> Result<Arc<Plan>, PlanError> {
        if let Some(plan) = self.cached(digest) {
            return Ok(plan);
        }
        let unusable = |why: String| PlanError::Unusable { digest: quorus_spec::digest_hex(digest), why };
        let workflow = Workflow::decode(definition).map_err(|error| unusable(error.to_string()))?;
        let (plan, problems) = quorus_spec::check(&workflow);
        let Some(plan) = plan else {
            let why = problems.iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect::<Vec<_>>().join("; ");
            return Err(unusable(why));
        };
        let plan = Arc::new(plan);
        let mut plans = self.plans.lock();
        plans.used += 1;
        let used = plans.used;
        if plans.plans.len() >= PLANS_MAX
            && let Some(oldest) = plans.plans.iter().min_by_key(|(_, (used, _))| *used).map(|(digest, _)| *digest)
        {
            plans.plans.remove(&oldest);
        }
        plans.plans.insert(*digest, (used, plan.clone()));
        Ok(plan)
    }

    fn cached(&self, digest: &[u8; 32]) -> Option<Arc<Plan>> {
        let mut plans = self.plans.lock();
        plans.used += 1;
        let used = plans.used;
        let (last, plan) = plans.plans.get_mut(digest)?;
        *last = used;
        Some(plan.clone())
    }
}
