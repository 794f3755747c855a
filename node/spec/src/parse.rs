//! Text to [`Node`]s: YAML 1.2, and so JSON.
//!
//! Built on the parser's events and not on serde, because serde stops at the first error and forgets how a scalar was quoted; a linter
//! needs neither. The text is not trusted: its size, its depth and what its aliases expand to are bounded before anything is built, so
//! that walks over a document may recurse.

use std::collections::{BTreeMap, BTreeSet};

use granit_parser::{Event, Parser, ScalarStyle};

use crate::{
    finding::Finding,
    node::{Entry, Key, Literal, Node, Scalar, Value},
    parse::layout::layout,
    span::Span,
};

pub(crate) use layout::locate;

mod layout;
mod syntax;
mod tags;

/// The largest text, in bytes: 10,000 steps of 100 bytes each.
pub const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// The deepest nesting. Steps nest at most 16 deep, and each level of them takes a few levels of the text.
pub(crate) const DEPTH_MAX: usize = 64;
/// The most values and keys, aliases expanded. A text without aliases can't hold more than half a million.
const NODES_MAX: usize = 500_000;

/// A document of a text.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) root: Node,
    pub(crate) findings: Vec<Finding>,
}

/// All documents; empty ones are left out. A syntax error ends the last one, whose root is then [`Value::Broken`].
pub(crate) fn parse(text: &str) -> Vec<Document> {
    let mut documents = Vec::new();
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("the text has {} bytes; a definition has at most {TEXT_BYTES_MAX}", text.len());
        documents.push(broken(Finding::error("too-large", "", Span::default(), message).hint("split it into several workflows")));
        return documents;
    }
    let options = granit_parser::options! {
        emit_comments: false,
        emit_unresolved_aliases: true,
        flow_nesting_limit: DEPTH_MAX,
        block_nesting_limit: DEPTH_MAX,
    };
    let mut composer = Composer {
        text,
        events: Parser::new_from_str_with_options(text, options),
        anchors: BTreeMap::new(),
        nodes: 0,
        findings: Vec::new(),
    };
    loop {
        match composer.document() {
            Ok(Some(root)) => documents.push(Document { root, findings: std::mem::take(&mut composer.findings) }),
            Ok(None) => return documents,
            Err(stop) => {
                let mut document = broken(*stop);
                document.findings.append(&mut composer.findings);
                documents.push(document);
                return documents;
            }
        }
    }
}

fn broken(finding: Finding) -> Document {
    Document { root: Node { span: Span::default(), value: Value::Broken }, findings: vec![finding] }
}

/// What ends the reading of a text.
type Stop = Box<Finding>;
type ParserOf<'a> = Parser<'a, granit_parser::StrInput<'a>>;

/// What an alias repeats, and what that costs.
#[derive(Clone)]
struct Anchored {
    node: Node,
    height: usize,
}

struct Composer<'a> {
    text: &'a str,
    events: ParserOf<'a>,
    anchors: BTreeMap<usize, Anchored>,
    nodes: usize,
    findings: Vec<Finding>,
}

impl<'a> Composer<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Stop> {
        match self.events.next() {
            Some(Ok((event, span))) => Ok((event, byte_span(&span))),
            Some(Err(error)) => Err(Box::new(syntax::finding(self.text, &error))),
            None => Ok((Event::StreamEnd, Span::new(self.text.len(), self.text.len()))),
        }
    }

    /// The root of the next document that holds anything.
    fn document(&mut self) -> Result<Option<Node>, Stop> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(None),
                (Event::DocumentStart(..), _) => {
                    self.anchors.clear();
                    let (event, span) = self.next()?;
                    let (root, _) = self.node(event, span, 1)?;
                    if !root.is_null() {
                        return Ok(Some(root));
                    }
                }
                _ => {}
            }
        }
    }

    /// The node that starts with `event`, and how deep it goes.
    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<(Node, usize), Stop> {
        self.spend(1, depth, span)?;
        let (node, height, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let kind = self.scalar_kind(&text, style, tag.as_deref(), span);
                let layout = layout(self.text, span, &text, style);
                (Node { span, value: Value::Scalar(Scalar { text: text.into_owned(), kind, layout }) }, 1, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.collection_tag(tag.as_deref(), "seq", span);
                let (node, height) = self.list(span, depth)?;
                (node, height, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.collection_tag(tag.as_deref(), "map", span);
                let (node, height) = self.map(span, depth)?;
                (node, height, anchor)
            }
            Event::Alias(id) => return self.alias(id, span, depth),
            Event::UnresolvedAlias(name) => {
                self.findings.push(
                    Finding::error("unknown-anchor", "", span, format!("no anchor `&{name}` stands before this alias"))
                        .hint("quote a text that starts with `*`"),
                );
                return Ok((Node { span, value: Value::Broken }, 1));
            }
            // Other events can't stand where a value is expected.
            _ => return Ok((Node { span, value: Value::Broken }, 1)),
        };
        if anchor != 0 {
            // A copy is kept, so it counts; else nested anchors would multiply a text by its depth.
            self.spend(node.size(), depth, span)?;
            self.anchors.insert(anchor, Anchored { node: node.clone(), height });
        }
        Ok((node, height))
    }

    fn alias(&mut self, id: usize, span: Span, depth: usize) -> Result<(Node, usize), Stop> {
        let Some(Anchored { mut node, height }) = self.anchors.get(&id).cloned() else {
            self.findings.push(Finding::error("unknown-anchor", "", span, "this alias stands inside what it refers to"));
            return Ok((Node { span, value: Value::Broken }, 1));
        };
        self.spend(node.size(), depth + height, span)?;
        // What is wrong with the value as a whole is shown where it is used; what is wrong inside, where it is written.
        node.span = span;
        if let Value::Scalar(scalar) = &mut node.value {
            scalar.layout = crate::node::Layout::Altered;
        }
        Ok((node, height))
    }

    fn list(&mut self, start: Span, depth: usize) -> Result<(Node, usize), Stop> {
        let (mut items, mut height) = (Vec::new(), 0);
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                let end = end_of(span, items.last().map(|item: &Node| item.span.end), start);
                return Ok((Node { span: Span::new(start.start, end), value: Value::List(items) }, height + 1));
            }
            let (item, item_height) = self.node(event, span, depth + 1)?;
            height = height.max(item_height);
            items.push(item);
        }
    }

    fn map(&mut self, start: Span, depth: usize) -> Result<(Node, usize), Stop> {
        let (mut entries, mut height) = (Vec::<Entry>::new(), 0);
        let mut merges = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                let end = end_of(span, entries.last().map(|entry| entry.value.span.end), start);
                self.merge(&mut entries, merges)?;
                let first = entries.first().map_or(start.start, |entry| entry.key.span.start.min(start.start));
                return Ok((Node { span: Span::new(first, end), value: Value::Map(entries) }, height + 1));
            }
            let plain_merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<");
            let (key, _) = self.node(event, span, depth + 1)?;
            let (event, span) = self.next()?;
            let (mut value, value_height) = self.node(event, span, depth + 1)?;
            height = height.max(value_height);
            if value.is_null() && self.text.get(value.span.range()).is_none_or(|text| text.trim().is_empty()) {
                // Nothing was written, so there is nothing to underline but the key.
                value.span = key.span;
            }
            if plain_merge {
                merges.push(value);
            } else if let Some(key) = self.key(key) {
                entries.push(Entry { key, value });
            }
        }
    }

    fn key(&mut self, node: Node) -> Option<Key> {
        match node.value {
            Value::Scalar(scalar) if scalar.kind != Literal::Null => return Some(Key { text: scalar.text, span: node.span }),
            Value::Broken => {}
            _ => {
                let found = node.describe();
                self.findings.push(Finding::error("bad-key", "", node.span, format!("a key must be text, this is {found}")));
            }
        }
        None
    }

    /// Adds what `<<` refers to, behind what the mapping says itself.
    fn merge(&mut self, entries: &mut Vec<Entry>, merges: Vec<Node>) -> Result<(), Stop> {
        if merges.is_empty() {
            return Ok(());
        }
        let mut known: BTreeSet<String> = entries.iter().map(|entry| entry.key.text.clone()).collect();
        for merge in merges {
            let span = merge.span;
            let sources = match merge.value {
                Value::List(items) => items,
                value => vec![Node { span, value }],
            };
            for source in sources {
                let Value::Map(merged) = source.value else {
                    self.findings.push(Finding::error("bad-key", "", span, "`<<` takes a mapping, or a list of mappings"));
                    continue;
                };
                for entry in merged {
                    if known.insert(entry.key.text.clone()) {
                        self.spend(entry.value.size(), 0, span)?;
                        entries.push(entry);
                    }
                }
            }
        }
        Ok(())
    }

    fn spend(&mut self, nodes: usize, depth: usize, span: Span) -> Result<(), Stop> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > NODES_MAX {
            let message = format!("the text expands to more than {NODES_MAX} values");
            return Err(Box::new(Finding::error("too-large", "", span, message).hint("use fewer aliases")));
        }
        if depth > DEPTH_MAX {
            return Err(Box::new(Finding::error("too-deep", "", span, format!("values nest at most {DEPTH_MAX} deep"))));
        }
        Ok(())
    }
}

/// A collection in block style has no end mark of its own: it ends with its last value.
fn end_of(end_event: Span, last: Option<usize>, start: Span) -> usize {
    if end_event.end > end_event.start { end_event.end } else { last.unwrap_or(start.end) }
}

fn byte_span(span: &granit_parser::Span) -> Span {
    // Parsers of a `&str` always know bytes.
    span.byte_range().map_or(Span::default(), |range| Span::new(range.start, range.end))
}
