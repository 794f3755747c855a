//! What this binary is: `quorusd version` and `/version`.

use std::fmt;

use serde::Serialize;

/// What this binary is.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Version {
    /// The release.
    pub version: &'static str,
    /// The commit that it was built from, if the packager said so.
    pub commit: Option<&'static str>,
    /// The oldest Rust that compiles it.
    pub rust_version: &'static str,
    /// The processor that it was built for.
    pub arch: &'static str,
    /// The system that it was built for.
    pub os: &'static str,
    /// True if it was built with debug assertions.
    pub debug: bool,
}

impl Version {
    /// This binary.
    pub const fn current() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            commit: option_env!("QUORUS_COMMIT"),
            rust_version: env!("CARGO_PKG_RUST_VERSION"),
            arch: std::env::consts::ARCH,
            os: std::env::consts::OS,
            debug: cfg!(debug_assertions),
        }
    }

    /// As one line of JSON.
    pub fn json(&self) -> String {
        // A struct of texts and a truth value always serialises.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "quorusd {}", self.version)?;
        if let Some(commit) = self.commit {
            write!(f, " ({commit})")?;
        }
        if self.debug { f.write_str(" debug") } else { Ok(()) }
    }
}
