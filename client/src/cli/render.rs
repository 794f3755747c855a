//! Messages of the API as JSON for people's programs: as nodes write them, too.

pub(crate) use quorus_spec::render::{POOL, value};
