//! Who sends an event: a signature as Standard Webhooks defines it, or a bearer token.
//!
//! A signature covers `webhook-id`, `webhook-timestamp` and the body, so that none can be changed; the timestamp must be within five minutes, so that
//! a recorded post is of no use later. During a change of keys a sender puts several signatures, or a trigger names several secrets.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, Mac};
use quorus_engine::Timestamp;
use quorus_proto::v1::TriggerAuth;
use sha2::Sha256;

use super::{
    event::Post,
    secret::{self, SecretError},
};

/// How far a sender's clock may be away.
const TOLERANCE_MS: i64 = 5 * 60 * 1000;
/// So many signatures of a post are looked at.
const SIGNATURES_MAX: usize = 16;
/// What the secrets of Standard Webhooks start with; the rest is base64.
const SECRET_PREFIX: &[u8] = b"whsec_";

/// Why an event is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthError {
    /// It is not signed as it should be.
    #[error("{0}")]
    Unauthorized(String),
    /// This node can't tell.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// Makes sure that the sender knows the secret.
pub(crate) async fn check(auth: &TriggerAuth, post: &Post, now: Timestamp) -> Result<(), AuthError> {
    if auth.unsigned {
        return Ok(());
    }
    if let Some(source) = &auth.bearer {
        return check_bearer(&secret::read(source).await?, post);
    }
    let mut secrets = Vec::new();
    for source in &auth.signature {
        secrets.push(key_of(secret::read(source).await?));
    }
    check_signature(&secrets, post, now)
}

fn check_bearer(secret: &[u8], post: &Post) -> Result<(), AuthError> {
    let given = post.header("authorization").ok_or_else(|| unauthorized("the header `authorization` is missing"))?;
    let token = given.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
    let token = token.ok_or_else(|| unauthorized("the header `authorization` is not `Bearer <token>`"))?;
    // Compared as digests under a key of the moment's own, so that time tells nothing.
    let mut expected = mac(b"bearer")?;
    expected.update(secret);
    let mut actual = mac(b"bearer")?;
    actual.update(token.as_bytes());
    expected.verify_slice(&actual.finalize().into_bytes()).map_err(|_| unauthorized("the token is not the right one"))
}

fn check_signature(secrets: &[Vec<u8>], post: &Post, now: Timestamp) -> Result<(), AuthError> {
    let header = |name: &str| post.header(name).ok_or_else(|| unauthorized(&format!("the header `{name}` is missing")));
    let (id, timestamp, signatures) = (header("webhook-id")?, header("webhook-timestamp")?, header("webhook-signature")?);
    let seconds: i64 = timestamp.parse().map_err(|_| unauthorized("the header `webhook-timestamp` is not a number of seconds"))?;
    if now.0.saturating_sub(seconds.saturating_mul(1000)).abs() > TOLERANCE_MS {
        return Err(unauthorized("`webhook-timestamp` is more than five minutes away from this node's clock"));
    }
    for signature in signatures.split_ascii_whitespace().take(SIGNATURES_MAX) {
        let Some(signature) = signature.strip_prefix("v1,").and_then(|text| BASE64.decode(text).ok()) else { continue };
        for secret in secrets {
            let mut mac = mac(secret)?;
            for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", &post.body] {
                mac.update(part);
            }
            if mac.verify_slice(&signature).is_ok() {
                return Ok(());
            }
        }
    }
    Err(unauthorized("no signature of `webhook-signature` fits"))
}

/// The key that a secret stands for.
fn key_of(secret: Vec<u8>) -> Vec<u8> {
    secret.strip_prefix(SECRET_PREFIX).and_then(|text| BASE64.decode(text).ok()).unwrap_or(secret)
}

fn mac(key: &[u8]) -> Result<Hmac<Sha256>, AuthError> {
    // HMAC takes keys of any length.
    Hmac::<Sha256>::new_from_slice(key).map_err(|_| unauthorized("the secret is no key"))
}

fn unauthorized(message: &str) -> AuthError {
    AuthError::Unauthorized(message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const SIGNED_AT: i64 = 1_614_265_330;

    fn post(signature: &str) -> Post {
        let headers =
            [("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"), ("webhook-timestamp", "1614265330"), ("webhook-signature", signature)];
        Post::new(headers.map(|(name, value)| (name.to_owned(), value.to_owned())), r#"{"test": 2432232314}"#)
    }

    fn verdict(secret: &str, post: &Post, now_s: i64) -> Result<(), String> {
        check_signature(&[key_of(secret.as_bytes().to_vec())], post, Timestamp(now_s * 1000)).map_err(|error| error.to_string())
    }

    const RIGHT: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    #[test]
    fn the_example_of_the_specification_is_right() {
        assert_eq!(verdict(SECRET, &post(RIGHT), SIGNED_AT), Ok(()));
        let several = format!("v1a,abc v1,AAAA {RIGHT}");
        assert_eq!(verdict(SECRET, &post(&several), SIGNED_AT + 299), Ok(()));
    }

    #[test]
    fn whatever_is_changed_is_noticed() {
        let wrong = |post: &Post, now| verdict(SECRET, post, now).unwrap_err();
        assert!(wrong(&post("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OF="), SIGNED_AT).contains("no signature"));
        let mut changed = post(RIGHT);
        changed.body = "{}".into();
        assert!(wrong(&changed, SIGNED_AT).contains("no signature"));
        assert!(wrong(&post(RIGHT), SIGNED_AT + 301).contains("five minutes"));
        assert!(wrong(&post(RIGHT), SIGNED_AT - 301).contains("five minutes"));
        assert!(wrong(&Post::new([], "{}"), SIGNED_AT).contains("`webhook-id` is missing"));
        assert!(verdict("whsec_AAAA", &post(RIGHT), SIGNED_AT).is_err());
    }

    #[test]
    fn a_bearer_token_is_compared_whole() {
        let with = |value: &str| Post::new([("authorization".to_owned(), value.to_owned())], "");
        assert!(check_bearer(b"s3cret", &with("Bearer s3cret")).is_ok());
        assert!(check_bearer(b"s3cret", &with("bearer s3cret ")).is_ok());
        for wrong in ["Bearer s3cre", "Bearer s3cret2", "Basic s3cret", "s3cret"] {
            assert!(check_bearer(b"s3cret", &with(wrong)).is_err(), "{wrong}");
        }
        assert!(check_bearer(b"s3cret", &Post::new([], "")).is_err());
    }
}
