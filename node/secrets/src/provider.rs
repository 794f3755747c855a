//! Where values come from.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use crate::Resolved;

/// A value is as large as a chain of certificates, and no larger.
const BYTES_MAX: u64 = 64 * 1024;

/// Finds secrets: `QUORUS_SECRET_<NAME>` in the environment (upper case, with `_` for every other character), then the file `<name>` in a folder.
#[derive(Clone, Default)]
pub struct Secrets {
    folder: Option<PathBuf>,
    fixed: BTreeMap<String, String>,
}

/// Why a secret can't be used. Says the name, never the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("secret `{name}` is not available here: {why}")]
pub struct Unavailable {
    /// Which.
    pub name: String,
    /// What to do about it.
    pub why: String,
}

impl Secrets {
    /// Only the environment.
    pub fn from_environment() -> Self {
        Self::default()
    }

    /// The environment, then files in this folder.
    pub fn with_folder(folder: Option<PathBuf>) -> Self {
        Self { folder, ..Self::default() }
    }

    /// Adds a value by hand; it comes before the environment.
    pub fn with_value(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.fixed.insert(name.into(), value.into());
        self
    }

    /// Finds the values of these names. Reads files: not for a thread that must not block.
    ///
    /// # Errors
    /// The first one that is nowhere, is empty, or can't be read.
    pub fn resolve(&self, names: &[String]) -> Result<Resolved, Unavailable> {
        let mut values = BTreeMap::new();
        for name in names {
            let value = self.value(name).map_err(|why| Unavailable { name: name.clone(), why })?;
            values.insert(name.clone(), value);
        }
        Ok(Resolved::new(values))
    }

    fn value(&self, name: &str) -> Result<String, String> {
        let valid = !name.is_empty() && !name.starts_with('.') && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if !valid {
            return Err("the name must have letters, digits, `.`, `_` and `-`, and must not begin with `.`".to_owned());
        }
        if let Some(value) = self.fixed.get(name) {
            return Ok(value.clone());
        }
        let variable = variable(name);
        if let Ok(value) = std::env::var(&variable)
            && !value.is_empty()
        {
            return Ok(value);
        }
        let Some(folder) = &self.folder else {
            return Err(format!("set {variable}, or configure a folder of secrets"));
        };
        let path = folder.join(name);
        let shown = path.display();
        let size = std::fs::metadata(&path).map_err(|error| format!("set {variable}, or write {shown} ({error})"))?.len();
        if size > BYTES_MAX {
            return Err(format!("{shown} has {size} bytes, at most {BYTES_MAX} are read"));
        }
        let mut value = std::fs::read_to_string(&path).map_err(|error| format!("{shown} can't be read: {error}"))?;
        // What an editor or `echo` adds.
        if value.ends_with('\n') {
            value.pop();
            if value.ends_with('\r') {
                value.pop();
            }
        }
        if value.is_empty() { Err(format!("{shown} is empty")) } else { Ok(value) }
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// The environment variable of a secret.
fn variable(name: &str) -> String {
    let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!("QUORUS_SECRET_{}", name.chars().map(upper).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_without_its_last_line_end() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("db.password"), "s3cret\nline\n").unwrap();
        let secrets = Secrets::with_folder(Some(folder.path().to_owned()));
        assert_eq!(secrets.value("db.password").unwrap(), "s3cret\nline");
        std::fs::write(folder.path().join("db.password"), "rotated").unwrap();
        assert_eq!(secrets.value("db.password").unwrap(), "rotated", "nothing is kept");
    }

    #[test]
    fn what_is_missing_is_named_with_what_to_do() {
        let error = Secrets::from_environment().resolve(&["no-such-secret".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("secret `no-such-secret`"), "{error}");
        assert!(error.to_string().contains("QUORUS_SECRET_NO_SUCH_SECRET"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("empty"), "\n").unwrap();
        let secrets = Secrets::with_folder(Some(folder.path().to_owned()));
        assert!(secrets.value("empty").unwrap_err().contains("is empty"));
    }

    #[test]
    fn a_name_never_leaves_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::with_folder(Some(folder.path().to_owned()));
        for name in ["../passwd", "/etc/passwd", "..", "", "a b"] {
            assert!(secrets.value(name).unwrap_err().contains("the name must"), "{name}");
        }
    }
}
