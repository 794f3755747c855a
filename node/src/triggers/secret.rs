//! Secrets of triggers, read where they are used and kept nowhere.

use quorus_proto::v1::{SecretSource, secret_source::Source};

/// Longer ones are no secrets, but the wrong file.
const BYTES_MAX: usize = 16 * 1024;

/// Why a secret can't be had. Says where it should be, never what it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    /// The variable is not set.
    #[error("the environment variable {0} is not set on this node")]
    NoVariable(String),
    /// The file can't be read.
    #[error("the file {path} can't be read on this node")]
    NoFile {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is nothing in it, or too much.
    #[error("the secret of {0} is empty, or longer than {BYTES_MAX} bytes")]
    Size(String),
    /// A definition without a source.
    #[error("the secret has no source")]
    NoSource,
}

/// The bytes of a secret.
pub(crate) async fn read(source: &SecretSource) -> Result<Vec<u8>, SecretError> {
    let (bytes, name) = match &source.source {
        Some(Source::Env(name)) => {
            let value = std::env::var_os(name).ok_or_else(|| SecretError::NoVariable(name.clone()))?;
            (value.into_encoded_bytes(), name)
        }
        Some(Source::File(path)) => {
            let read = tokio::fs::read(path).await.map_err(|source| SecretError::NoFile { path: path.clone(), source })?;
            (read, path)
        }
        None => return Err(SecretError::NoSource),
    };
    let secret = bytes.trim_ascii_end();
    if secret.is_empty() || secret.len() > BYTES_MAX {
        return Err(SecretError::Size(name.clone()));
    }
    Ok(secret.to_vec())
}
