//! The key of a limit: a text with paths into the run's input and the run itself, `eu-${input.customer.id}`.
//!
//! Only paths, unlike the templates of workflows: a key is evaluated where tasks are handed out, for each attempt.

use quorus_engine::RunInfo;
use serde_json::Value;

/// A parsed key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyTemplate {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Path(Vec<String>),
}

impl KeyTemplate {
    /// Reads a key.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            if start > 0 {
                pieces.push(Piece::Text(rest[..start].to_owned()));
            }
            let Some(length) = rest[start..].find('}') else { return Err("`${` without `}`".to_owned()) };
            let source = rest[start + 2..start + length].trim();
            let path: Vec<String> = source.split('.').map(str::to_owned).collect();
            let word = |part: &String| {
                !part.is_empty() && part.chars().all(|character| character.is_ascii_alphanumeric() || matches!(character, '_' | '-'))
            };
            let root = matches!(path.first().map(String::as_str), Some("input" | "run"));
            if !root || path.len() < 2 || !path.iter().all(word) {
                return Err(format!("`{source}` is not a path below `input` or `run`, as in `${{input.customer.id}}`"));
            }
            pieces.push(Piece::Path(path));
            rest = &rest[start + length + 1..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self { pieces })
    }

    /// The key of a run. What is not there is empty.
    pub fn render(&self, info: &RunInfo) -> String {
        let needs_input = self.pieces.iter().any(|piece| matches!(piece, Piece::Path(path) if path[0] == "input"));
        let input: Value = if needs_input { serde_json::from_slice(&info.input.data).unwrap_or(Value::Null) } else { Value::Null };
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Path(path) if path[0] == "input" => {
                let value = path[1..].iter().try_fold(&input, |value, part| value.get(part));
                value.map_or_else(String::new, |value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            }
            Piece::Path(path) => match path[1].as_str() {
                "id" => info.run_id.clone(),
                "uid" => info.uid.to_string(),
                "workflow" => info.workflow.clone(),
                "namespace" => info.namespace.clone(),
                "labels" => path.get(2).and_then(|label| info.labels.get(label)).cloned().unwrap_or_default(),
                _ => String::new(),
            },
        };
        self.pieces.iter().map(piece).collect()
    }
}

#[cfg(test)]
mod tests {
    use quorus_engine::Payload;

    use super::*;

    #[test]
    fn a_key_is_text_with_paths() {
        let info = RunInfo {
            workflow: "deploy".into(),
            labels: [("team".to_owned(), "core".to_owned())].into(),
            input: Payload::json(&serde_json::json!({"customer": {"id": 7, "name": "x"}})),
            ..RunInfo::default()
        };
        for (text, key) in [
            ("", ""),
            ("all", "all"),
            ("${input.customer.id}/${run.workflow}", "7/deploy"),
            ("c-${ input.customer.name }-${run.labels.team}", "c-x-core"),
            ("${input.nothing.here}", ""),
        ] {
            assert_eq!(KeyTemplate::parse(text).unwrap().render(&info), key, "{text}");
        }
        for bad in ["${input}", "${steps.a.output}", "${input.a", "${input.a + 1}", "${}"] {
            assert!(KeyTemplate::parse(bad).is_err(), "{bad}");
        }
    }
}
