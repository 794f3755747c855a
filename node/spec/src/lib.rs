//! quorus-spec
