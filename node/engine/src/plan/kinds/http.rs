//! `http`, and what it shares with the other kinds that call URLs.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::HttpDefinition;
use crate::expr::Template;
use crate::plan::expressions::{At, Compiler};

/// A larger answer would not fit into an output together with its headers and escapes.
const BODY_BYTES_MAX: u64 = 1024 * 1024;

impl Compiler<'_> {
    /// The request document of [`crate::BuiltIn::Http`].
    pub(super) fn http(&mut self, at: &At, http: &HttpDefinition) -> Template {
        let path = format!("{}.http", at.path);
        if !http.method.chars().all(|c| c.is_ascii_alphabetic()) || http.method.len() > 20 {
            let message = format!("`{}` is not an HTTP method", http.method.escape_debug());
            self.error(format!("{path}.method"), "invalid-method", message, "for example GET, POST, PUT or DELETE");
        }
        let method = match (http.method.as_str(), &http.body) {
            ("", None) => "GET".to_owned(),
            ("", Some(_)) => "POST".to_owned(),
            (method, _) => method.to_ascii_uppercase(),
        };
        for (index, status) in http.expect.iter().enumerate() {
            if !is_status(status) {
                let message = format!("`{}` is not an HTTP status", status.escape_debug());
                self.error(
                    format!("{path}.expect[{index}]"),
                    "invalid-status",
                    message,
                    "for example 200, or 2xx for all that begin with 2",
                );
            }
        }
        if http.max_body_bytes > BODY_BYTES_MAX {
            let message = format!("{} bytes are more than {BODY_BYTES_MAX}", http.max_body_bytes);
            self.error(format!("{path}.max_body_bytes"), "invalid-size", message, "let a worker fetch larger things, and pass references");
        }
        let expect = if http.expect.is_empty() { json!(["2xx"]) } else { json!(http.expect) };
        let mut members = vec![
            literal("method", json!(method)),
            ("url".to_owned(), self.url(at, ".http.url", &http.url)),
            ("headers".to_owned(), self.headers(at, ".http.headers", &http.headers)),
            literal("expect", expect),
            literal("max_body_bytes", json!(if http.max_body_bytes == 0 { BODY_BYTES_MAX } else { http.max_body_bytes })),
            literal("allow_private", json!(http.allow_private)),
            literal("on_crash", json!(if http.fail_on_crash { "fail" } else { "retry" })),
        ];
        if let Some(body) = &http.body {
            members.push(("body".to_owned(), self.template(at, ".http.body", body)));
        }
        Template::object(members)
    }

    /// A URL; what is literal is checked at once.
    pub(super) fn url(&mut self, at: &At, below: &str, url: &str) -> Template {
        let path = || format!("{}{below}", at.path);
        if url.is_empty() {
            self.error(path(), "missing-url", "the URL is missing", "for example https://hooks.example.org/release");
            return Template::Literal(Value::Null);
        }
        let template = self.text(at, below, url);
        if let Template::Literal(Value::String(text)) = &template
            && !is_url(text)
        {
            let message = format!("`{}` is not an http or https URL", text.escape_debug());
            self.error(path(), "invalid-url", message, "for example https://hooks.example.org/release");
        }
        template
    }

    /// Headers; secrets may stand in their values.
    pub(super) fn headers(&mut self, at: &At, below: &str, headers: &BTreeMap<String, String>) -> Template {
        let at = at.with_secrets();
        let mut members = Vec::with_capacity(headers.len());
        for (name, value) in headers {
            let below = format!("{below}.{name}");
            let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
            if name.is_empty() || !name.chars().all(is_token) {
                let message = format!("`{}` can't be the name of a header", name.escape_debug());
                self.error(format!("{}{below}", at.path), "invalid-header", message, "letters, digits and dashes");
            }
            members.push((name.clone(), self.text(&at, &below, value)));
        }
        Template::object(members)
    }
}

pub(super) fn literal(key: &str, value: Value) -> (String, Template) {
    (key.to_owned(), Template::Literal(value))
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', '?', '#', ':']) && !text.contains(char::is_whitespace))
}

fn is_status(text: &str) -> bool {
    match text.as_bytes() {
        [b'1'..=b'5', b'x', b'x'] => true,
        [b'1'..=b'5', tens, ones] => tens.is_ascii_digit() && ones.is_ascii_digit(),
        _ => false,
    }
}
