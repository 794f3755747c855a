//! Just enough about `${...}` to take a value apart; what is inside is the engine's business.

/// The expression of a text that is only `${ expression }`, trimmed; `None` for anything else.
pub(crate) fn whole(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("${")?;
    let end = closing(inner)?;
    (end + 1 == inner.len()).then(|| inner[..end].trim())
}

/// Where the brace stands that closes the one before `text`. Braces in CEL's strings don't count.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote, mut escaped) = (0usize, None, false);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') if depth == 0 => return Some(at),
            (None, '}') => depth -= 1,
            (None, _) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_single_expression_is_whole() {
        assert_eq!(whole("${input.delay}"), Some("input.delay"));
        assert_eq!(whole(" ${ {'a': '}'}['a'] } "), Some("{'a': '}'}['a']"));
        assert_eq!(whole("${a}s"), None);
        assert_eq!(whole("${a}${b}"), None);
        assert_eq!(whole("10s"), None);
        assert_eq!(whole("${a"), None);
    }
}
