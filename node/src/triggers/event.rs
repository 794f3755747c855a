//! What was posted, as the events in it: plain JSON, CloudEvents 1.0, notifications of Alertmanager.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use quorus_proto::v1::{AlertUnit, EventFormat};
use serde_json::{Map, Value, json};

use crate::resource::short_hash;

/// So many events may come in one post.
const EVENTS_MAX: usize = 1000;
/// What expressions don't read: it proves who somebody is.
const HIDDEN_HEADERS: &[&str] = &["authorization", "cookie", "proxy-authorization", "webhook-signature"];
/// The attributes without which an event is no CloudEvent.
const REQUIRED_ATTRIBUTES: &[&str] = &["specversion", "id", "source", "type"];

/// What was posted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Post {
    /// Names in lower case.
    headers: BTreeMap<String, String>,
    pub(crate) body: Bytes,
}

/// One event of a post.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    /// By what it is known if it comes again.
    pub(crate) id: Option<String>,
    /// What expressions read as `event`.
    pub(crate) document: Value,
    /// What a run gets as input if the trigger doesn't say.
    pub(crate) input: Value,
}

impl Post {
    /// A post with these headers.
    pub(crate) fn new(headers: impl IntoIterator<Item = (String, String)>, body: impl Into<Bytes>) -> Self {
        let headers = headers.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
        Self { headers, body: body.into() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    fn visible_headers(&self) -> Value {
        let visible = self.headers.iter().filter(|(name, _)| !HIDDEN_HEADERS.contains(&name.as_str()));
        Value::Object(visible.map(|(name, value)| (name.clone(), value.as_str().into())).collect())
    }

    /// The media type, in lower case and without parameters.
    fn media_type(&self) -> String {
        let text = self.header("content-type").unwrap_or_default();
        text.split(';').next().unwrap_or_default().trim().to_lowercase()
    }

    fn json(&self) -> Result<Value, String> {
        serde_json::from_slice(&self.body).map_err(|error| format!("the body is not JSON: {error}"))
    }
}

/// The events of a post.
///
/// # Errors
/// What is wrong with it, in a sentence.
pub(crate) fn events(format: EventFormat, per: AlertUnit, post: &Post) -> Result<Vec<Event>, String> {
    let events = match format {
        EventFormat::Unspecified | EventFormat::Json => plain(post).map(|event| vec![event]),
        EventFormat::CloudEvents => cloud_events(post),
        EventFormat::Alertmanager => alerts(post, per),
    }?;
    if events.len() > EVENTS_MAX { Err(format!("there are more than {EVENTS_MAX} events in one post")) } else { Ok(events) }
}

fn plain(post: &Post) -> Result<Event, String> {
    let body = post.json()?;
    let id = post.header("webhook-id").map(str::to_owned);
    Ok(Event { document: json!({"id": id, "body": body, "headers": post.visible_headers()}), id, input: body })
}

fn cloud_events(post: &Post) -> Result<Vec<Event>, String> {
    match post.media_type().as_str() {
        "application/cloudevents+json" => structured(post.json()?, post).map(|event| vec![event]),
        "application/cloudevents-batch+json" => match post.json()? {
            Value::Array(events) => events.into_iter().map(|event| structured(event, post)).collect(),
            _ => Err("a batch of CloudEvents is a JSON array".to_owned()),
        },
        _ if post.header("ce-specversion").is_some() => binary(post).map(|event| vec![event]),
        _ => Err("it is no CloudEvent: neither the content type `application/cloudevents+json` nor the header `ce-specversion` is there"
            .to_owned()),
    }
}

fn structured(event: Value, post: &Post) -> Result<Event, String> {
    let Value::Object(mut attributes) = event else { return Err("a CloudEvent is a JSON object".to_owned()) };
    let mut data = attributes.remove("data").unwrap_or_default();
    if let Some(Value::String(text)) = attributes.remove("data_base64") {
        let bytes = BASE64.decode(&text).map_err(|_| "`data_base64` is not base64".to_owned())?;
        let kind = attributes.get("datacontenttype").and_then(Value::as_str).unwrap_or("application/json");
        data = read_data(kind, &bytes)?;
    }
    cloud_event(attributes, data, post)
}

fn binary(post: &Post) -> Result<Event, String> {
    let mut attributes = Map::new();
    for (name, value) in &post.headers {
        if let Some(name) = name.strip_prefix("ce-") {
            attributes.insert(name.to_owned(), percent_decoded(value).into());
        }
    }
    let kind = post.media_type();
    if !kind.is_empty() {
        attributes.insert("datacontenttype".to_owned(), kind.clone().into());
    }
    let data = if post.body.is_empty() { Value::Null } else { read_data(&kind, &post.body)? };
    cloud_event(attributes, data, post)
}

fn cloud_event(mut attributes: Map<String, Value>, data: Value, post: &Post) -> Result<Event, String> {
    for name in REQUIRED_ATTRIBUTES {
        if attributes.get(*name).and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err(format!("the CloudEvent has no attribute `{name}`"));
        }
    }
    let text = |name: &str| attributes.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    if text("specversion") != "1.0" {
        return Err(format!("CloudEvents {} is not known, only 1.0", text("specversion")));
    }
    // Source and id together are unique, as the specification says.
    let id = Some(format!("{} {}", text("source"), text("id")));
    attributes.insert("data".to_owned(), data.clone());
    attributes.insert("body".to_owned(), data.clone());
    attributes.insert("headers".to_owned(), post.visible_headers());
    Ok(Event { id, document: Value::Object(attributes), input: data })
}

/// JSON as what it says, text as text, anything else as base64.
fn read_data(media_type: &str, bytes: &[u8]) -> Result<Value, String> {
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_lowercase();
    if media_type.is_empty() || media_type == "application/json" || media_type == "text/json" || media_type.ends_with("+json") {
        return serde_json::from_slice(bytes).map_err(|error| format!("the data is not JSON: {error}"));
    }
    Ok(std::str::from_utf8(bytes).map_or_else(|_| BASE64.encode(bytes), str::to_owned).into())
}

fn alerts(post: &Post, per: AlertUnit) -> Result<Vec<Event>, String> {
    let body = post.json()?;
    let Some(alerts) = body.get("alerts").and_then(Value::as_array).cloned() else {
        return Err("it is no notification of Alertmanager: `alerts` is missing".to_owned());
    };
    let headers = post.visible_headers();
    if per == AlertUnit::Group {
        // The same set of alerts in the same state: a notification that is repeated on schedule starts nothing.
        let mut parts: Vec<String> = alerts.iter().map(alert_id).collect();
        parts.sort();
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        parts.extend([text("groupKey").to_owned(), text("status").to_owned()]);
        let id = Some(format!("group {}", short_hash(&parts.iter().map(String::as_str).collect::<Vec<_>>())));
        return Ok(vec![Event { document: json!({"id": id, "body": body, "headers": headers}), id, input: body }]);
    }
    let event = |alert: Value| {
        let id = Some(alert_id(&alert));
        Event { document: json!({"id": id, "alert": alert, "body": body, "headers": headers}), id, input: alert }
    };
    Ok(alerts.into_iter().map(event).collect())
}

/// One alert in one state: its end is another event than its beginning.
fn alert_id(alert: &Value) -> String {
    let text = |name: &str| alert.get(name).and_then(Value::as_str).unwrap_or_default();
    let labels = alert.get("labels").map(|labels| {
        let mut labels = labels.clone();
        labels.sort_all_objects();
        labels.to_string()
    });
    let fingerprint = if text("fingerprint").is_empty() { labels.unwrap_or_default() } else { text("fingerprint").to_owned() };
    format!("{fingerprint} {} {}", text("startsAt"), text("status"))
}

/// Header values of CloudEvents are percent-encoded.
fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 3;
            }
            (byte, _) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(headers: &[(&str, &str)], body: impl Into<Bytes>) -> Post {
        Post::new(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())), body)
    }

    fn one(format: EventFormat, post: &Post) -> Event {
        events(format, AlertUnit::Alert, post).unwrap().remove(0)
    }

    #[test]
    fn plain_json_is_its_body_and_what_proves_a_sender_is_hidden() {
        let event =
            one(EventFormat::Json, &post(&[("X-Kind", "push"), ("Authorization", "Bearer x"), ("Webhook-Id", "m1")], r#"{"a": 1}"#));
        assert_eq!(event.id.as_deref(), Some("m1"));
        assert_eq!(event.document, json!({"id": "m1", "body": {"a": 1}, "headers": {"webhook-id": "m1", "x-kind": "push"}}));
        assert_eq!(event.input, json!({"a": 1}));
        assert!(events(EventFormat::Json, AlertUnit::Alert, &post(&[], "{")).unwrap_err().contains("not JSON"));
    }

    #[test]
    fn a_cloud_event_is_the_same_in_both_modes() {
        let kind = ("content-type", "application/cloudevents+json; charset=utf-8");
        let body = r#"{"specversion": "1.0", "id": "7", "source": "/s", "type": "t", "subject": "ü", "data": {"n": 1}}"#;
        let structured = one(EventFormat::CloudEvents, &post(&[kind], body));
        let headers = [("ce-specversion", "1.0"), ("ce-id", "7"), ("ce-source", "/s"), ("ce-type", "t"), ("ce-subject", "%C3%BC")];
        let binary =
            one(EventFormat::CloudEvents, &post(&[headers.as_slice(), &[("content-type", "application/json")]].concat(), r#"{"n": 1}"#));
        for event in [&structured, &binary] {
            assert_eq!(event.id.as_deref(), Some("/s 7"));
            assert_eq!((&event.document["subject"], &event.document["data"]["n"]), (&json!("ü"), &json!(1)));
            assert_eq!(event.input, json!({"n": 1}));
        }
    }

    #[test]
    fn what_is_no_cloud_event_is_named() {
        let wrong = |headers: &[(&str, &str)], body: &'static str| {
            events(EventFormat::CloudEvents, AlertUnit::Alert, &post(headers, body)).unwrap_err()
        };
        assert!(wrong(&[], "{}").contains("no CloudEvent"));
        let kind = [("content-type", "application/cloudevents+json")];
        assert!(wrong(&kind, r#"{"specversion": "1.0", "source": "/s", "type": "t"}"#).contains("no attribute `id`"));
        assert!(wrong(&kind, r#"{"specversion": "0.3", "id": "1", "source": "/s", "type": "t"}"#).contains("0.3"));
    }

    #[test]
    fn a_batch_has_many_events() {
        let one = |id: &str| json!({"specversion": "1.0", "id": id, "source": "/s", "type": "t", "data_base64": "eyJuIjogMX0="});
        let body = json!([one("1"), one("2")]).to_string();
        let events =
            events(EventFormat::CloudEvents, AlertUnit::Alert, &post(&[("content-type", "application/cloudevents-batch+json")], body));
        let events = events.unwrap();
        assert_eq!(events.iter().map(|event| event.id.clone().unwrap()).collect::<Vec<_>>(), ["/s 1", "/s 2"]);
        assert_eq!(events[0].input, json!({"n": 1}));
    }

    fn notification(status: &str) -> Value {
        let alert = |name: &str| json!({"status": status, "labels": {"alertname": name}, "startsAt": "2026-11-24T20:00:00Z", "fingerprint": format!("f-{name}")});
        json!({"version": "4", "groupKey": "{}", "status": status, "alerts": [alert("Down"), alert("Slow")]})
    }

    #[test]
    fn alerts_are_events_of_their_own_or_one() {
        let body = notification("firing").to_string();
        let alerts = events(EventFormat::Alertmanager, AlertUnit::Alert, &post(&[], body.clone())).unwrap();
        assert_eq!(alerts.len(), 2);
        assert_eq!(alerts[0].id.as_deref(), Some("f-Down 2026-11-24T20:00:00Z firing"));
        assert_eq!(alerts[1].document["alert"]["labels"]["alertname"], "Slow");
        assert_eq!(alerts[1].document["body"]["status"], "firing");
        let id = |body: String| events(EventFormat::Alertmanager, AlertUnit::Group, &post(&[], body)).unwrap().remove(0).id.unwrap();
        assert_eq!(id(body.clone()), id(body.clone()));
        assert_ne!(id(body), id(notification("resolved").to_string()));
        assert!(events(EventFormat::Alertmanager, AlertUnit::Alert, &post(&[], "{}")).unwrap_err().contains("`alerts` is missing"));
    }
}
