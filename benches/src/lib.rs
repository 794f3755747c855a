//! quorus-benches
