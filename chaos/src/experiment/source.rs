//! A text as a value that knows where its parts stand. One parser for both formats: every JSON text is a YAML text.
//!
//! Invariant: what is read is bounded in size and depth, and never depends on anything but the text. A key that comes twice is an error: readers of the
//! format disagree about which one counts.

use std::collections::BTreeMap;

use granit_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};

use super::finding::{Finding, Place, join};

/// The largest file.
const BYTES_MAX: usize = 1024 * 1024;
/// The deepest nesting.
const DEPTH_MAX: usize = 64;

/// A text that was read.
#[derive(Clone, Debug)]
pub struct Source {
    /// What it says.
    pub value: Value,
    /// Where each value stands, by JSON pointer.
    places: BTreeMap<String, Place>,
}

impl Source {
    /// Reads JSON or YAML.
    pub fn read(text: &str) -> Result<Self, Finding> {
        if text.len() > BYTES_MAX {
            return Err(error(None, "", format!("the file has {} bytes; an experiment has at most {BYTES_MAX}", text.len())));
        }
        // Mistakes in JSON are best told by a parser of JSON.
        if text.trim_start().starts_with('{')
            && let Err(wrong) = serde_json::from_str::<Value>(text)
        {
            let place = Place { line: wrong.line(), column: wrong.column().max(1) };
            let message = wrong.to_string();
            let message = message.split(" at line ").next().unwrap_or_default();
            return Err(error(Some(place), "", format!("this is not valid JSON: {message}; mend it at this place, or just before")));
        }
        let options = granit_parser::options! { emit_comments: false, flow_nesting_limit: DEPTH_MAX, block_nesting_limit: DEPTH_MAX };
        let mut composer = Composer { events: Parser::new_from_str_with_options(text, options), places: BTreeMap::new() };
        let value = composer.document()?;
        Ok(Self { value, places: composer.places })
    }

    /// Where a value stands; of a value that is not there, where its nearest parent does.
    pub fn place(&self, pointer: &str) -> Option<Place> {
        let mut pointer = pointer;
        loop {
            if let Some(place) = self.places.get(pointer) {
                return Some(*place);
            }
            pointer = pointer.rfind('/').map(|end| &pointer[..end])?;
        }
    }
}

fn error(place: Option<Place>, pointer: &str, message: impl Into<String>) -> Finding {
    Finding { error: true, pointer: pointer.to_owned(), place, message: message.into() }
}

struct Composer<'a> {
    events: Parser<'a, granit_parser::StrInput<'a>>,
    places: BTreeMap<String, Place>,
}

impl<'a> Composer<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Place), Finding> {
        match self.events.next() {
            Some(Ok((event, span))) => Ok((event, Place { line: span.start.line(), column: span.start.col() + 1 })),
            Some(Err(wrong)) => {
                let place = Place { line: wrong.marker().line(), column: wrong.marker().col() + 1 };
                let message = format!("this is not valid YAML: {}; check the indentation (spaces, no tabs) and the quotes", wrong.kind());
                Err(error(Some(place), "", message))
            }
            None => Ok((Event::StreamEnd, Place { line: 1, column: 1 })),
        }
    }

    fn document(&mut self) -> Result<Value, Finding> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => {
                    return Err(error(None, "", "the file is empty; an experiment has a title, a description and a method"));
                }
                (Event::DocumentStart(..), _) => {
                    let (event, place) = self.next()?;
                    return self.value(event, place, "");
                }
                _ => {}
            }
        }
    }

    fn value(&mut self, event: Event<'a>, place: Place, pointer: &str) -> Result<Value, Finding> {
        self.places.insert(pointer.to_owned(), place);
        match event {
            Event::Scalar(text, style, ..) => Ok(scalar(&text, style)),
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    let (event, place) = self.next()?;
                    if event == Event::SequenceEnd {
                        return Ok(Value::Array(items));
                    }
                    let pointer = join(pointer, &items.len().to_string());
                    items.push(self.value(event, place, &pointer)?);
                }
            }
            Event::MappingStart(..) => {
                let mut map = Map::new();
                loop {
                    let (event, place) = self.next()?;
                    let key = match event {
                        Event::MappingEnd => return Ok(Value::Object(map)),
                        Event::Scalar(text, ..) => text.into_owned(),
                        _ => return Err(error(Some(place), pointer, "a key must be a text")),
                    };
                    let inner = join(pointer, &key);
                    if map.contains_key(&key) {
                        return Err(error(Some(place), &inner, "this key stands twice; remove one of them"));
                    }
                    let (event, at) = self.next()?;
                    let value = self.value(event, at, &inner)?;
                    // The key is what people look for.
                    self.places.insert(inner, place);
                    map.insert(key, value);
                }
            }
            Event::Alias(_) => Err(error(Some(place), pointer, "aliases (`*name`) are not part of the format; write the value out")),
            _ => Err(error(Some(place), pointer, "a value is missing here")),
        }
    }
}

/// The JSON schema of YAML 1.2, near enough: only plain scalars are anything but text.
fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::String(text.to_owned());
    }
    match text {
        "" | "~" | "null" => return Value::Null,
        "true" | "True" => return Value::Bool(true),
        "false" | "False" => return Value::Bool(false),
        _ => {}
    }
    if let Ok(number) = text.parse::<i64>() {
        return Value::Number(number.into());
    }
    let numeric = text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '-' | '+' | '.'));
    match text.parse::<f64>().ok().filter(|_| numeric).and_then(Number::from_f64) {
        Some(number) => Value::Number(number),
        None => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_and_yaml_say_the_same() {
        let json = Source::read(r#"{"a": [1, 2.5, true, null, "x"], "b": {"c/d": "1"}}"#).unwrap();
        let yaml = Source::read("a:\n  - 1\n  - 2.5\n  - true\n  - null\n  - x\nb:\n  c/d: \"1\"\n").unwrap();
        assert_eq!(json.value, json!({"a": [1, 2.5, true, null, "x"], "b": {"c/d": "1"}}));
        assert_eq!(json.value, yaml.value);
        assert_eq!(yaml.place("/b/c~1d"), Some(Place { line: 8, column: 3 }));
        assert_eq!(yaml.place("/b/missing"), Some(Place { line: 7, column: 1 }), "the nearest parent");
    }

    #[test]
    fn mistakes_come_with_their_place() {
        let wrong = Source::read("{\n  \"a\": 1,\n}").unwrap_err();
        assert_eq!(wrong.place.unwrap().line, 3, "{wrong}");
        let wrong = Source::read("a: 1\nb: [1, 2\n").unwrap_err();
        assert!(wrong.place.is_some() && wrong.message.contains("YAML"), "{wrong}");
        let wrong = Source::read("a: 1\na: 2\n").unwrap_err();
        assert_eq!((wrong.place.unwrap().line, wrong.pointer.as_str()), (2, "/a"));
        assert!(Source::read("  ").unwrap_err().message.contains("empty"));
    }
}
