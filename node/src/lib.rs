//! quorus-node
