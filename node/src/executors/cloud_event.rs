//! CloudEvents 1.0 as HTTP requests: structured and binary mode.

use reqwest::header::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{attempt::Fault, outgoing};

/// How an event is put into a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mode {
    /// Everything is one JSON document.
    #[default]
    Structured,
    /// Attributes are headers, the body is the data.
    Binary,
}

/// An event.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CloudEvent {
    pub(super) id: String,
    pub(super) source: String,
    pub(super) kind: String,
    pub(super) subject: Option<String>,
    pub(super) time: Option<String>,
    pub(super) traceparent: Option<String>,
    pub(super) data: Option<Value>,
}

impl CloudEvent {
    fn attributes(&self) -> Vec<(&'static str, &str)> {
        let optional = [("subject", &self.subject), ("time", &self.time), ("traceparent", &self.traceparent)];
        let optional = optional.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        [("specversion", "1.0"), ("id", &self.id), ("source", &self.source), ("type", &self.kind)].into_iter().chain(optional).collect()
    }

    /// The event as one JSON document.
    pub(super) fn structured(&self) -> Value {
        let mut event: Map<String, Value> = self.attributes().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        if let Some(data) = &self.data {
            event.insert("datacontenttype".to_owned(), "application/json".into());
            event.insert("data".to_owned(), data.clone());
        }
        Value::Object(event)
    }

    /// Adds the event's headers; returns the body.
    ///
    /// # Errors
    /// If an attribute is none that a header can hold.
    pub(super) fn put_into(&self, mode: Mode, headers: &mut HeaderMap, confidential: bool) -> Result<Vec<u8>, Fault> {
        let mut set = |name: &str, value: &str| -> Result<(), Fault> {
            let (name, value) = outgoing::header(name, value, confidential)?;
            headers.insert(name, value);
            Ok(())
        };
        match mode {
            Mode::Structured => {
                set("content-type", "application/cloudevents+json; charset=UTF-8")?;
                Ok(self.structured().to_string().into_bytes())
            }
            Mode::Binary => {
                for (name, value) in self.attributes() {
                    set(&format!("ce-{name}"), &percent_encoded(value))?;
                }
                let Some(data) = &self.data else { return Ok(Vec::new()) };
                set("content-type", "application/json")?;
                Ok(data.to_string().into_bytes())
            }
        }
    }
}

/// As the HTTP binding says: space, double quote, percent, and what is not printable ASCII.
fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b' ' | b'"' | b'%' | 0..=0x20 | 0x7f.. => format!("%{byte:02X}"),
        _ => char::from(byte).to_string(),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event() -> CloudEvent {
        CloudEvent {
            id: "key-1".into(),
            source: "/quorus/default/release".into(),
            kind: "org.example.released".into(),
            subject: Some("Euro € 100%".into()),
            time: None,
            traceparent: None,
            data: Some(json!({"v": 1})),
        }
    }

    #[test]
    fn structured_mode_is_one_document() {
        let mut headers = HeaderMap::new();
        let body = event().put_into(Mode::Structured, &mut headers, false).unwrap();
        assert_eq!(headers["content-type"], "application/cloudevents+json; charset=UTF-8");
        let document: Value = serde_json::from_slice(&body).unwrap();
        let expected = json!({"specversion": "1.0", "id": "key-1", "source": "/quorus/default/release", "type": "org.example.released",
            "subject": "Euro € 100%", "datacontenttype": "application/json", "data": {"v": 1}});
        assert_eq!(document, expected);
    }

    #[test]
    fn binary_mode_has_attributes_as_headers() {
        let mut headers = HeaderMap::new();
        let body = event().put_into(Mode::Binary, &mut headers, false).unwrap();
        assert_eq!(body, br#"{"v":1}"#);
        let expected =
            [("ce-specversion", "1.0"), ("ce-id", "key-1"), ("ce-type", "org.example.released"), ("content-type", "application/json")];
        for (name, value) in expected {
            assert_eq!(headers[name], value);
        }
        // The example of the specification's HTTP binding for characters outside of ASCII.
        assert_eq!(headers["ce-subject"], "Euro%20%E2%82%AC%20100%25");
    }
}
