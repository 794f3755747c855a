//! Why stored bytes can't be read.

/// Why stored bytes can't be read. Never an answer to a client: a replica that meets one stops.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CodecError {
    /// Not an encoded message at all: damaged, or not ours.
    #[error("stored {what} is malformed")]
    Malformed {
        /// Which kind of value.
        what: &'static str,
        /// What the decoder says.
        #[source]
        source: prost::DecodeError,
    },
    /// A oneof without a known member.
    #[error("stored {what} is of a kind that this version does not know: written by a newer version")]
    UnknownKind {
        /// Which kind of value.
        what: &'static str,
    },
    /// An enum value out of the known range.
    #[error("stored {what} has the value {value}, which this version does not know: written by a newer version")]
    UnknownValue {
        /// Which kind of value.
        what: &'static str,
        /// The number.
        value: i32,
    },
    /// A field that every version writes is not there.
    #[error("stored {what} has no {field}")]
    Missing {
        /// Which kind of value.
        what: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A field of fixed length has another one.
    #[error("stored {what} has {actual} bytes instead of {expected}")]
    Length {
        /// Which kind of value.
        what: &'static str,
        /// Always so many.
        expected: usize,
        /// So many were there.
        actual: usize,
    },
}

/// Decodes a message of the log or the state, keeping byte fields as slices of `bytes`.
pub(crate) fn decode<M: prost::Message + Default>(what: &'static str, bytes: bytes::Bytes) -> Result<M, CodecError> {
    M::decode(bytes).map_err(|source| CodecError::Malformed { what, source })
}
