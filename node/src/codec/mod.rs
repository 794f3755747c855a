//! Engine values to stored bytes and back.
//!
//! Engine types carry no wire format, so that the engine stays pure and its types can be changed; what is on disk is `quorus.log.v1`, which only
//! grows. Encoding is total. Decoding is not: a value that this version does not know is a [`CodecError`], and a replica that meets one stops
//! instead of guessing ("written by a newer version"), since guessing would make replicas differ.
//!
//! Invariants: decode(encode(x)) == x (property tests); encodings never change (golden bytes in `golden/`); payload data is never copied, it stays
//! a slice of the bytes that it was decoded from.
//!
//! Where next: `store` for the keys under which these values lie, `replica` for who writes them.

mod cluster;
mod error;
mod event;
mod head;
mod info;
mod lifecycle;
mod outcome;
mod status;
mod step;
mod system;
mod value;

#[cfg(test)]
pub(crate) mod arbitrary;
#[cfg(test)]
pub(crate) mod golden;

pub use cluster::{cluster_from_proto, cluster_to_proto, decode_cluster, encode_cluster};
pub use error::CodecError;
pub(crate) use error::decode;
pub use event::{decode_event, encode_event};
pub use head::{decode_head, encode_head};
pub use info::{decode_info, encode_info_without_input, info_from_proto, info_to_proto};
pub use lifecycle::{decode_signal, encode_signal};
pub use status::{
    outcome_kind_from_proto, outcome_kind_to_proto, run_status_from_proto, run_status_to_proto, skip_cause_from_proto, skip_cause_to_proto,
    step_status_from_proto, step_status_to_proto,
};
pub use step::{decode_step, encode_step};
pub use system::{decode_system_answer, decode_system_command, encode_system_answer, encode_system_command};
pub use value::{
    decode_payload, digest_from_proto, encode_payload, failure_from_proto, failure_to_proto, payload_from_proto, payload_to_proto,
    principal_from_proto, principal_to_proto, worker_from_proto, worker_to_proto,
};
