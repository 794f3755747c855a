//! The contract: what clients and workers send, what nodes send each other, what is stored. No behaviour.
//!
//! Generated from `proto/*.proto`, which are the reference. Fields and messages are only added, never changed: see the golden files of the
//! crates that store them.

// Generated code documents itself by the comments of the .proto files, and tonic's part of it has none.
#![allow(clippy::doc_lazy_continuation, clippy::large_enum_variant, unreachable_pub)]

// Modules mirror the packages, since generated code refers from one to another by relative paths.
mod quorus {
    pub mod v1 {
        tonic::include_proto!("quorus.v1");
    }
    pub mod peer {
        pub mod v1 {
            tonic::include_proto!("quorus.peer.v1");
        }
    }
    pub mod log {
        pub mod v1 {
            tonic::include_proto!("quorus.log.v1");
        }
    }
}

/// What is stored.
pub use quorus::log::v1 as log;
/// Node to node.
pub use quorus::peer::v1 as peer;
/// The public API.
pub use quorus::v1;

/// Descriptors of every file, with comments: for reflection, the spec reader and `quorus api call`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
