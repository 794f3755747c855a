//! Tags (`!!str`): those of JSON's own types are understood, others mean nothing here.

use granit_parser::{ScalarStyle, Tag};

use super::Composer;
use crate::{finding::Finding, node::Literal, span::Span};

impl Composer<'_> {
    /// What a scalar means: its tag says it, or else its looks if it is not quoted.
    pub(super) fn scalar_kind(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Literal {
        let Some(tag) = tag else {
            return if style == ScalarStyle::Plain { crate::scalar::resolve(text) } else { Literal::Text };
        };
        let resolved = crate::scalar::resolve(text);
        let fits = match tag.core_suffix() {
            Some("str") => return Literal::Text,
            Some("null") => resolved == Literal::Null,
            Some("bool") => matches!(resolved, Literal::Bool(_)),
            Some("int") => matches!(resolved, Literal::Int(_)),
            Some("float") => matches!(resolved, Literal::Int(_) | Literal::Float(_)),
            _ if tag.original() == "!" => return Literal::Text,
            _ => {
                self.unsupported(tag, span);
                return resolved;
            }
        };
        if !fits {
            self.findings.push(Finding::error("wrong-type", "", span, format!("`{text}` is not what its tag `{}` says", tag.original())));
        }
        resolved
    }

    /// A list or mapping can only be tagged as what it is.
    pub(super) fn collection_tag(&mut self, tag: Option<&Tag>, expected: &str, span: Span) {
        if let Some(tag) = tag.filter(|tag| tag.core_suffix() != Some(expected) && tag.original() != "!") {
            self.unsupported(tag, span);
        }
    }

    fn unsupported(&mut self, tag: &Tag, span: Span) {
        self.findings.push(
            Finding::error("unsupported-tag", "", span, format!("the tag `{}` means nothing here", tag.original())).hint("remove the tag"),
        );
    }
}
