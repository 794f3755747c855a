//! How text gets into a page.

use std::fmt::Write as _;

use serde::Serialize;

/// Text for the content of an element, or for an attribute in double quotes.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // What no page may hold.
            letter if letter.is_control() && !matches!(letter, '\n' | '\t') => escaped.push('\u{fffd}'),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// JSON for the inside of a script element: nothing in it can end the element or begin a comment.
pub fn json(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned());
    text.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

/// A table. Cells are HTML already; headers are text. The caption names it for those who can't see it.
pub fn table(caption: &str, headers: &[&str], rows: &[Vec<String>]) -> String {
    // On a narrow screen a row of a few columns becomes a card; more columns are scrolled.
    let class = if (4..=7).contains(&headers.len()) { "cards" } else { "" };
    let mut html = format!("<div class=\"scroll\"><table class=\"{class}\"><caption>{}</caption><thead><tr>", escape(caption));
    for header in headers {
        // Writing into a string can't fail.
        let _ = write!(html, "<th scope=\"col\">{}</th>", escape(header));
    }
    html.push_str("</tr></thead><tbody>");
    for row in rows {
        html.push_str("<tr>");
        // An empty cell has nothing to say on a card either.
        for (cell, header) in row.iter().zip(headers) {
            let _ = match cell.is_empty() {
                true => write!(html, "<td></td>"),
                false => write!(html, "<td data-label=\"{}\"><div>{cell}</div></td>", escape(header)),
            };
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table></div>");
    html
}

/// A table of names and values. Values are HTML already.
pub fn pairs(caption: &str, rows: &[(String, String)]) -> String {
    let mut html = format!("<div class=\"scroll\"><table class=\"pairs\"><caption>{}</caption><tbody>", escape(caption));
    for (name, value) in rows {
        let _ = write!(html, "<tr><th scope=\"row\">{}</th><td>{value}</td></tr>", escape(name));
    }
    html.push_str("</tbody></table></div>");
    html
}

/// A time span for people; number and unit stay on one line.
pub fn span(us: u64) -> String {
    let ms = us as f64 / 1_000.0;
    match us {
        0..1_000 => format!("{us}\u{a0}µs"),
        1_000..10_000 => format!("{ms:.1}\u{a0}ms"),
        10_000..1_000_000 => format!("{ms:.0}\u{a0}ms"),
        1_000_000..100_000_000 => format!("{:.2}\u{a0}s", ms / 1_000.0),
        _ => format!("{:.0}\u{a0}s", ms / 1_000.0),
    }
}

/// A number with thin spaces between thousands.
pub fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// `1 run`, `2 runs`.
pub fn count(value: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(value), if value == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_can_become_markup() {
        assert_eq!(escape("<img src=x onerror='a(\"b\")'>&\u{7}"), "&lt;img src=x onerror=&#39;a(&quot;b&quot;)&#39;&gt;&amp;\u{fffd}");
        let hidden = json(&["</script><!--", "\u{2028}"]);
        assert!(!hidden.contains('<') && !hidden.contains('\u{2028}'), "{hidden}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&hidden).unwrap(), ["</script><!--", "\u{2028}"]);
    }

    #[test]
    fn numbers_are_for_people() {
        assert_eq!((number(0), number(1_234_567)), ("0".into(), "1\u{202f}234\u{202f}567".into()));
        let spans: Vec<String> = [7, 1_500, 45_000, 2_345_678, 130_000_000].into_iter().map(span).collect();
        assert_eq!(spans, ["7\u{a0}µs", "1.5\u{a0}ms", "45\u{a0}ms", "2.35\u{a0}s", "130\u{a0}s"]);
        assert_eq!((count(1, "run", "runs"), count(2, "run", "runs")), ("1 run".into(), "2 runs".into()));
    }
}
