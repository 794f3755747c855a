//! quorus-client
