//! Which runs: the flags that every command about many runs takes, as one filter in the language that nodes read.

use clap::Args;
use quorus_client::{Client, v1};

use super::{args::key_value, failure::Failure, text::run_status};

/// Runs of a page; the most that nodes give.
const PAGE: u32 = 1000;

#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Which runs")]
pub(crate) struct Select {
    /// Conditions as text, for example 'status=failed label.team=payments started>2h error=SchemaConflict'
    #[arg(long, value_name = "TEXT")]
    pub(crate) filter: Option<String>,
    /// Of this workflow; several separated by commas
    #[arg(long, short, value_delimiter = ',', value_name = "NAME")]
    pub(crate) workflow: Vec<String>,
    /// Of this version of their workflow
    #[arg(long, value_name = "NUMBER")]
    pub(crate) workflow_version: Option<u64>,
    /// With this status, or `open` or `ended`; several separated by commas
    #[arg(long, short, value_delimiter = ',', value_name = "STATUS", value_parser = status)]
    pub(crate) status: Vec<String>,
    /// With this label; may be repeated
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) label: Vec<(String, String)>,
    /// Started since then: a duration ago, a date, or an RFC 3339 time
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Started before then
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// Ended since then
    #[arg(long, value_name = "TIME")]
    pub(crate) ended_since: Option<String>,
    /// Ended before then
    #[arg(long, value_name = "TIME")]
    pub(crate) ended_until: Option<String>,
    /// Failed with this type of error; several separated by commas
    #[arg(long, value_delimiter = ',', value_name = "TYPE")]
    pub(crate) error: Vec<String>,
    /// Started as a child of this run
    #[arg(long, value_name = "RUN")]
    pub(crate) parent: Option<String>,
    /// With an id that begins like this
    #[arg(long, value_name = "TEXT")]
    pub(crate) prefix: Option<String>,
}

impl Select {
    /// Nothing was said.
    pub(crate) fn is_empty(&self) -> bool {
        self.text().is_empty()
    }

    /// All that was said, as one filter.
    pub(crate) fn text(&self) -> String {
        let words = |values: &[String]| values.iter().map(|value| word(value)).collect::<Vec<_>>().join(",");
        let some = |field: &str, values: &[String]| (!values.is_empty()).then(|| format!("{field}={}", words(values)));
        let time = |comparison: &str, time: &Option<String>| time.as_ref().map(|time| format!("{comparison}{}", word(time)));
        let mut parts: Vec<String> = Vec::new();
        parts.extend(self.filter.as_ref().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()));
        parts.extend(some("workflow", &self.workflow));
        parts.extend(self.workflow_version.map(|version| format!("version={version}")));
        parts.extend(some("status", &self.status));
        parts.extend(self.label.iter().map(|(name, value)| format!("label.{}={}", label_name(name), word(value))));
        parts.extend(time("started>=", &self.since));
        parts.extend(time("started<", &self.until));
        parts.extend(time("ended>=", &self.ended_since));
        parts.extend(time("ended<", &self.ended_until));
        parts.extend(some("error", &self.error));
        parts.extend(self.parent.as_ref().map(|parent| format!("parent={}", word(parent))));
        parts.extend(self.prefix.as_ref().map(|prefix| format!("id={}*", word(prefix))));
        parts.join(" ")
    }
}

/// Pages of a list, one after the other.
pub(crate) struct Pages {
    request: v1::ListRunsRequest,
    left: usize,
    done: bool,
}

impl Pages {
    /// At most `limit` runs that meet a filter.
    pub(crate) fn new(filter: String, limit: usize) -> Self {
        Self { request: v1::ListRunsRequest { filter, ..Default::default() }, left: limit, done: false }
    }

    /// The next page; `None` at the end, or when there were enough.
    pub(crate) async fn next(&mut self, client: &Client) -> Result<Option<Vec<v1::Run>>, Failure> {
        if self.done || self.left == 0 {
            return Ok(None);
        }
        self.request.page_size = u32::try_from(self.left).unwrap_or(u32::MAX).min(PAGE);
        let mut page = client.list_runs(self.request.clone()).await?;
        page.runs.truncate(self.left);
        self.left -= page.runs.len();
        self.done = page.next_page_token.is_empty();
        self.request.page_token = page.next_page_token;
        Ok(Some(page.runs))
    }

    /// There is more than was asked for.
    pub(crate) fn more(&self) -> bool {
        !self.done
    }
}

/// Checks a status before anybody is asked.
fn status(text: &str) -> Result<String, String> {
    let known = (1..).map_while(|number| v1::RunStatus::try_from(number).ok()).map(run_status);
    let known: Vec<String> = known.chain(["open".to_owned(), "ended".to_owned()]).collect();
    if known.iter().any(|name| name == text) { Ok(text.to_owned()) } else { Err(format!("expected one of {}", known.join(", "))) }
}

/// A value as it is, in quotes if it has to be.
pub(crate) fn word(text: &str) -> String {
    quoted_unless(text, |c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '/' | '@' | '+'))
}

fn label_name(text: &str) -> String {
    quoted_unless(text, |c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '/'))
}

fn quoted_unless(text: &str, plain: impl Fn(char) -> bool) -> String {
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_one_filter() {
        let select = Select {
            filter: Some(" started>2h ".to_owned()),
            workflow: vec!["release".to_owned(), "two words".to_owned()],
            status: vec!["failed".to_owned()],
            label: vec![("team".to_owned(), "a\"b".to_owned()), ("a b".to_owned(), String::new())],
            until: Some("2026-11-24T20:00:00Z".to_owned()),
            prefix: Some("rel-".to_owned()),
            ..Select::default()
        };
        let expected = "started>2h workflow=release,\"two words\" status=failed label.team=\"a\\\"b\" label.\"a b\"=\"\" \
                        started<2026-11-24T20:00:00Z id=rel-*";
        assert_eq!(select.text(), expected);
        assert!(Select::default().is_empty());
    }
}
