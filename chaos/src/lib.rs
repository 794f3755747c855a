//! quorus-chaos
