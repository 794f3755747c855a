//! Requests as activities. The answer has `status`, `headers` and `body`; a body that says that it is JSON is read.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Client, Method};
use serde_json::{Map, Value, json};

use super::scope::plain;

/// A request, all references filled.
#[derive(Clone, Debug)]
pub struct Request {
    /// To whom.
    pub url: String,
    /// `GET`, ...
    pub method: String,
    /// Header fields.
    pub headers: Value,
    /// The query of a GET, the body of others.
    pub arguments: Value,
    /// False takes any certificate.
    pub verify_tls: bool,
}

/// Sends it and waits for the whole answer.
pub async fn send(request: &Request, bound: Duration) -> anyhow::Result<Value> {
    let client = Client::builder().timeout(bound).danger_accept_invalid_certs(!request.verify_tls).build().context("making a client")?;
    let method = Method::from_bytes(request.method.as_bytes()).with_context(|| format!("the method `{}`", request.method))?;
    let is_get = method == Method::GET;
    let mut building = client.request(method, &request.url);
    let mut json_body = false;
    if let Value::Object(headers) = &request.headers {
        for (name, value) in headers {
            json_body |= name.eq_ignore_ascii_case("content-type") && plain(value).starts_with("application/json");
            building = building.header(name, plain(value));
        }
    }
    building = match &request.arguments {
        Value::Null => building,
        Value::Object(map) if is_get => building.query(&map.iter().map(|(name, value)| (name, plain(value))).collect::<Vec<_>>()),
        arguments if json_body => building.body(arguments.to_string()),
        Value::String(text) => building.body(text.clone()),
        Value::Object(map) => {
            let mut form = reqwest::Url::parse("form:")?;
            form.query_pairs_mut().extend_pairs(map.iter().map(|(name, value)| (name, plain(value))));
            building.header("content-type", "application/x-www-form-urlencoded").body(form.query().unwrap_or_default().to_owned())
        }
        _ => bail!("arguments of a request are a map or a text"),
    };
    let answer = building.send().await.with_context(|| format!("asking {}", request.url))?;
    let status = answer.status().as_u16();
    let field = |(name, value): (&reqwest::header::HeaderName, &reqwest::header::HeaderValue)| {
        (name.to_string(), Value::from(String::from_utf8_lossy(value.as_bytes()).into_owned()))
    };
    let headers: Map<String, Value> = answer.headers().iter().map(field).collect();
    let is_json = headers.get("content-type").is_some_and(|kind| plain(kind).starts_with("application/json"));
    let text = answer.text().await.with_context(|| format!("reading the answer of {}", request.url))?;
    let body = serde_json::from_str(&text).ok().filter(|_| is_json).unwrap_or(Value::String(text));
    Ok(json!({"status": status, "headers": headers, "body": body}))
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    #[tokio::test]
    async fn a_request_answers_with_status_and_a_body_that_is_read_if_it_is_json() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = vec![0; 4096];
            let length = stream.read(&mut bytes).await.unwrap();
            let answer = "HTTP/1.1 418 no\r\ncontent-type: application/json\r\ncontent-length: 9\r\nconnection: close\r\n\r\n{\"a\": 12}";
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&bytes[..length]).into_owned()
        });
        let request = Request {
            url: format!("http://{address}/x"),
            method: "GET".into(),
            headers: json!({"x-who": "me"}),
            arguments: json!({"q": "a b"}),
            verify_tls: true,
        };
        let answer = send(&request, Duration::from_secs(30)).await.unwrap();
        assert_eq!((answer["status"].as_u64(), &answer["body"]), (Some(418), &json!({"a": 12})));
        let asked = server.await.unwrap();
        assert!(asked.starts_with("GET /x?q=a+b HTTP/1.1") && asked.contains("x-who: me"), "{asked}");
    }
}
