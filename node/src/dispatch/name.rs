//! The opaque name of a lease: enough to find its shard and run. The same lease has the same name under every leader.

use bytes::Bytes;
use prost::Message;
use quorus_engine::{AttemptRef, RunUid, StepId, Token};
use quorus_proto::peer;

use crate::leader::RunKey;

/// A decoded lease name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseName {
    /// The shard that owns the run.
    pub shard: u32,
    /// The run's place.
    pub key: RunKey,
    /// The run.
    pub uid: RunUid,
    /// The attempt.
    pub attempt: AttemptRef,
}

impl LeaseName {
    /// The bytes that go to the worker and come back. The same lease always has the same bytes.
    pub fn encode(&self) -> Bytes {
        peer::LeaseName {
            shard: self.shard,
            namespace: self.key.namespace.to_string(),
            run_id: self.key.run_id.to_string(),
            run_uid: Bytes::copy_from_slice(&self.uid.to_bytes()),
            step: self.attempt.step.to_string(),
            attempt: self.attempt.attempt,
            token: self.attempt.token.0,
        }
        .encode_to_vec()
        .into()
    }

    /// `None` if the bytes are not a lease name.
    pub fn decode(bytes: &Bytes) -> Option<Self> {
        let name = peer::LeaseName::decode(bytes.clone()).ok()?;
        Some(Self {
            shard: name.shard,
            key: RunKey::new(&name.namespace, &name.run_id),
            uid: RunUid::from_bytes(&name.run_uid)?,
            attempt: AttemptRef { step: StepId::from(name.step.as_str()), attempt: name.attempt, token: Token(name.token) },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_the_way_to_the_worker_and_back() {
        let name = LeaseName {
            shard: 7,
            key: RunKey::new("default", "r"),
            uid: RunUid(42),
            attempt: AttemptRef { step: "build".into(), attempt: 2, token: Token(9) },
        };
        assert_eq!(LeaseName::decode(&name.encode()), Some(name));
        assert_eq!(LeaseName::decode(&Bytes::from_static(b"\xff\xff")), None);
        assert_eq!(LeaseName::decode(&Bytes::new()), None, "an empty name has no uid");
    }
}
