//! quorus-raft
