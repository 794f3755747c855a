//! Calls to the outside over HTTP, as workflows ask for them.
//!
//! Invariants: a connection is only made to an address that is in reach, whatever the URL, the name service or a redirect says; an answer is
//! read up to a bound; an error says whether the other side may have seen the request.

use std::{error::Error as StdError, net::IpAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use reqwest::{
    Method, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{HeaderMap, HeaderName, HeaderValue},
    redirect::{Attempt as Redirect, Policy},
};

use super::{Reach, attempt::Fault};

/// How long a connection may take to be made.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Redirects that are followed, one after another.
const REDIRECTS_MAX: usize = 5;
/// Connections that are kept open for a host.
const IDLE_MAX: usize = 16;

/// The way out. Cheap to clone.
#[derive(Clone)]
pub(super) struct Outgoing {
    public: Way,
    /// With the private addresses that the node allows.
    private: Way,
}

/// Clients that go no further than a reach.
#[derive(Clone)]
struct Way {
    reach: Reach,
    clients: Result<Clients, Arc<str>>,
}

#[derive(Clone)]
struct Clients {
    /// Follows redirects to wherever is in reach.
    open: reqwest::Client,
    /// Follows them only on the same host: what it carries is meant for nobody else.
    careful: reqwest::Client,
}

/// A call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
    pub(super) timeout: Option<Duration>,
    /// Longer answers are an error.
    pub(super) body_max: usize,
    /// It may go to private addresses, as far as the node allows.
    pub(super) private: bool,
    /// It carries secrets.
    pub(super) confidential: bool,
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// The address is not in reach.
    #[error("{0}")]
    OutOfReach(String),
    /// No connection was made.
    #[error("no connection to {host}: {why}")]
    NotConnected { host: String, why: String },
    /// It took too long.
    #[error("{host} did not answer in time")]
    TimedOut { host: String },
    /// The connection broke.
    #[error("the connection to {host} broke: {why}")]
    Broken { host: String, why: String },
    /// The answer is longer than allowed.
    #[error("the answer has more than {max} bytes")]
    TooLarge { max: usize },
    /// The node can't make calls.
    #[error("the node can't make calls: {0}")]
    Unable(Arc<str>),
}

impl CallError {
    /// As an attempt's failure.
    pub(super) fn fault(&self) -> Fault {
        let message = self.to_string();
        match self {
            Self::OutOfReach(_) => Fault::new("QuorusAddressRefused", message).final_one().nothing_done(),
            Self::NotConnected { .. } => Fault::new("QuorusHttpConnection", message).nothing_done(),
            Self::Unable(_) => Fault::new("QuorusHttpUnable", message).nothing_done(),
            Self::TimedOut { .. } => Fault::new("QuorusHttpTimeout", message),
            Self::Broken { .. } => Fault::new("QuorusHttpConnection", message),
            Self::TooLarge { .. } => Fault::new("QuorusOutputTooLarge", message).final_one(),
        }
    }
}

/// Inside of errors of the HTTP library: who refused.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} is not a public address; to call it, the step must say `allow_private` and the node's setting `http_allow_private` must have it"
)]
struct OutOfReach(String);

impl Outgoing {
    /// Calls public addresses, and for steps that say so what is in reach.
    pub(super) fn new(reach: Reach) -> Self {
        Self { public: Way::new(Reach::default()), private: Way::new(reach) }
    }

    /// Makes a call.
    pub(super) async fn send(&self, call: Call) -> Result<Answer, CallError> {
        if call.private { self.private.send(call).await } else { self.public.send(call).await }
    }
}

impl Way {
    fn new(reach: Reach) -> Self {
        let build = |policy: Policy| {
            reqwest::Client::builder()
                .user_agent(concat!("quorus/", env!("CARGO_PKG_VERSION")))
                .dns_resolver(Arc::new(GuardedResolver { reach: reach.clone() }))
                // A proxy would look names up itself.
                .no_proxy()
                .redirect(policy)
                .connect_timeout(CONNECT_WITHIN)
                .pool_max_idle_per_host(IDLE_MAX)
                .build()
                .map_err(|error| Arc::from(chain(&error)))
        };
        let open = build(policy(reach.clone(), false));
        let clients = open.and_then(|open| Ok(Clients { open, careful: build(policy(reach.clone(), true))? }));
        Self { reach, clients }
    }

    async fn send(&self, call: Call) -> Result<Answer, CallError> {
        let clients = self.clients.as_ref().map_err(|why| CallError::Unable(why.clone()))?;
        let client = if call.confidential { &clients.careful } else { &clients.open };
        check(&self.reach, &call.url).map_err(|refused| CallError::OutOfReach(refused.to_string()))?;
        let host = host(&call.url);
        let mut request = client.request(call.method, call.url.clone()).headers(call.headers);
        if let Some(body) = call.body {
            request = request.body(body);
        }
        if let Some(timeout) = call.timeout {
            request = request.timeout(timeout);
        }
        let error = |error: reqwest::Error| explain(&error, &call.url, &host);
        let mut response = request.send().await.map_err(error)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(error)? {
            if body.len() + chunk.len() > call.body_max {
                return Err(CallError::TooLarge { max: call.body_max });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, headers, body: body.freeze() })
    }
}

/// Reads a URL that a workflow gives.
pub(super) fn url(text: &str) -> Result<Url, Fault> {
    // The text may hold a secret; what is wrong with it is said without it.
    let url = Url::parse(text).map_err(|error| Fault::invalid(format!("`url` can't be read: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(Fault::invalid("`url` must begin with http:// or https:// and have a host"));
    }
    Ok(url)
}

/// Reads a header that a workflow gives.
pub(super) fn header(name: &str, value: &str, confidential: bool) -> Result<(HeaderName, HeaderValue), Fault> {
    let parsed = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(value).ok());
    let (name, mut value) = parsed.ok_or_else(|| Fault::invalid(format!("header {name:?} is not one that HTTP knows")))?;
    value.set_sensitive(confidential);
    Ok((name, value))
}

fn policy(reach: Reach, careful: bool) -> Policy {
    Policy::custom(move |redirect: Redirect<'_>| {
        if redirect.previous().len() > REDIRECTS_MAX {
            return redirect.error(format!("more than {REDIRECTS_MAX} redirects"));
        }
        if let Err(refused) = check(&reach, redirect.url()) {
            return redirect.error(refused);
        }
        let origin = redirect.previous().first().cloned();
        let same_host = origin.is_some_and(|origin| {
            let same_port = origin.port_or_known_default() == redirect.url().port_or_known_default();
            let upgrade = origin.scheme() == "http" && redirect.url().scheme() == "https";
            origin.host() == redirect.url().host() && ((origin.scheme() == redirect.url().scheme() && same_port) || upgrade)
        });
        if careful && !same_host { redirect.stop() } else { redirect.follow() }
    })
}

/// Addresses in a URL don't come by the resolver.
fn check(reach: &Reach, url: &Url) -> Result<(), OutOfReach> {
    let address: Option<IpAddr> = url.host_str().and_then(|host| host.trim_start_matches('[').trim_end_matches(']').parse().ok());
    match address {
        Some(address) if !reach.allows(address) => Err(OutOfReach(address.to_string())),
        _ => Ok(()),
    }
}

struct GuardedResolver {
    reach: Reach,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.reach.clone();
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let allowed: Vec<_> = found.iter().copied().filter(|address| reach.allows(address.ip())).collect();
            if allowed.is_empty()
                && let Some(refused) = found.first()
            {
                return Err(Box::new(OutOfReach(format!("{} ({})", name.as_str(), refused.ip()))) as Box<dyn StdError + Send + Sync>);
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

fn explain(error: &reqwest::Error, asked: &Url, host: &str) -> CallError {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(refused) = inner.downcast_ref::<OutOfReach>() {
            return CallError::OutOfReach(refused.to_string());
        }
        source = inner.source();
    }
    let (host, why) = (host.to_owned(), error.source().map_or_else(|| error.to_string(), chain));
    // After a redirect, the first host has seen the request.
    let redirected = error.url().is_some_and(|at| at != asked);
    if error.is_connect() && !redirected {
        CallError::NotConnected { host, why }
    } else if error.is_timeout() {
        CallError::TimedOut { host }
    } else {
        CallError::Broken { host, why }
    }
}

fn host(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}{port}", url.host_str().unwrap_or_default())
}

/// An error with its causes, each once.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut at = Some(error);
    while let Some(error) = at {
        let text = error.to_string();
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        at = error.source();
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executors::testing::{Stub, get};

    #[tokio::test]
    async fn addresses_out_of_reach_are_refused_in_urls_names_and_redirects() {
        let stub = Stub::start().await;
        let nowhere = Outgoing::new(Reach::default());
        for url in [format!("http://127.0.0.1:{}/", stub.port), format!("http://localhost:{}/", stub.port), "http://[::1]:1/".to_owned()] {
            let error = nowhere.send(get(&url)).await.unwrap_err();
            assert!(matches!(error, CallError::OutOfReach(_)), "{url}: {error:?}");
            assert!(error.fault().failure().nothing_done);
        }
        // The node allows it, the step does not say so.
        let error =
            Outgoing::new(Reach::new(vec!["127.0.0.0/8".parse().unwrap()])).send(Call { private: false, ..get(&stub.base()) }).await;
        assert!(matches!(error, Err(CallError::OutOfReach(_))));
        assert_eq!(stub.requests().len(), 0, "nobody was called");
        // One address of loopback is allowed, a redirect to another one is not followed.
        let some = Outgoing::new(Reach::new(vec!["127.0.0.1".parse().unwrap()]));
        let away = format!("{}/redirect?to=http://127.0.0.2:{}/ok", stub.base(), stub.port);
        assert!(matches!(some.send(get(&away)).await.unwrap_err(), CallError::OutOfReach(_)));
        let here = format!("{}/redirect?to={}/ok", stub.base(), stub.base());
        assert_eq!(some.send(get(&here)).await.unwrap().status, 200);
    }

    #[tokio::test]
    async fn endless_redirects_end_and_secrets_stay_at_their_host() {
        let (stub, other) = (Stub::start().await, Stub::start().await);
        let outgoing = Outgoing::new(Reach::new(vec!["127.0.0.0/8".parse().unwrap()]));
        let round = format!("{}/redirect?to={}/loop", stub.base(), stub.base());
        assert!(matches!(outgoing.send(get(&round)).await.unwrap_err(), CallError::Broken { .. }));
        let call = Call { confidential: true, ..get(&format!("{}/redirect?to={}/ok", stub.base(), other.base())) };
        assert_eq!(outgoing.send(call).await.unwrap().status, 302, "the redirect itself is the answer");
        assert_eq!(other.requests().len(), 0);
    }

    #[tokio::test]
    async fn an_error_says_whether_the_request_may_have_been_seen() {
        let stub = Stub::start().await;
        let outgoing = Outgoing::new(Reach::new(vec!["127.0.0.0/8".parse().unwrap()]));
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let refused = outgoing.send(get(&format!("http://{free}/"))).await.unwrap_err();
        assert!(matches!(refused, CallError::NotConnected { .. }) && refused.fault().failure().nothing_done, "{refused:?}");
        let broken = outgoing.send(get(&format!("http://{}/", stub.hang_up().await))).await.unwrap_err();
        assert!(matches!(broken, CallError::Broken { .. }) && !broken.fault().failure().nothing_done, "{broken:?}");
        let slow = Call { timeout: Some(Duration::from_millis(50)), ..get(&format!("{}/never", stub.base())) };
        let slow = outgoing.send(slow).await.unwrap_err();
        assert!(matches!(slow, CallError::TimedOut { .. }) && !slow.fault().failure().nothing_done, "{slow:?}");
        let large = Call { body_max: 3, ..get(&format!("{}/ok", stub.base())) };
        assert!(matches!(outgoing.send(large).await.unwrap_err(), CallError::TooLarge { max: 3 }));
    }
}
