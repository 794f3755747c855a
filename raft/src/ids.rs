//! Numbers that name things. Plain integers, since they travel in keys, on the wire and through openraft.

/// A Raft group: 0 is the system group, the others are shards. Below 2^31: the upper half stages snapshots.
pub type GroupId = u32;

/// A process of the cluster, for as long as its data folder lives.
pub type NodeId = u64;

/// A member of one group. Never reused, not even by the same node: a wiped replica comes back under a new id.
pub type ReplicaId = u64;

/// A leadership, numbered. At most one replica of a group leads in a term.
pub type Term = u64;

/// A place in the log of a group. The first entry has index 0.
pub type Index = u64;
