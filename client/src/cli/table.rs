//! Tables for people: aligned columns without lines, as kubectl prints them, so that they are easy to cut and grep.

use std::fmt::Write;

use anstream::adapter::strip_str;

/// Between columns.
const GAP: usize = 2;

/// A table with a header; empty text if there are no rows. Cells may be coloured.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let rows: Vec<_> = rows.into_iter().map(|row| row.map(|cell| first_line(&cell))).collect();
    if rows.is_empty() {
        return String::new();
    }
    let header = header.map(str::to_owned);
    let all = || std::iter::once(&header).chain(&rows);
    let widths: [usize; N] = std::array::from_fn(|column| all().map(|row| shown(&row[column])).max().unwrap_or_default());
    let mut text = String::new();
    for row in all() {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell}{}", " ".repeat(width + GAP - shown(cell)));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// How many columns of the terminal a cell takes: colours take none.
fn shown(cell: &str) -> usize {
    strip_str(cell).to_string().chars().count()
}

/// Names and values under each other, without a header; empty values are left out.
pub(crate) fn facts<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let rows: Vec<_> = rows.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default() + 2;
    rows.iter().map(|(name, value)| format!("{:width$}{value}\n", format!("{name}:"))).collect()
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_without_spaces() {
        let text = table(["ID", "STATUS"], [["a".to_owned(), "running".to_owned()], ["long-id".to_owned(), "x\ny".to_owned()]]);
        assert_eq!(text, "ID       STATUS\na        running\nlong-id  x\n");
    }

    #[test]
    fn colours_take_no_place() {
        let text = table(["A", "B"], [["\u{1b}[32mok\u{1b}[0m".to_owned(), "x".to_owned()]]);
        assert_eq!(strip_str(&text).to_string(), "A   B\nok  x\n");
    }

    #[test]
    fn facts_leave_out_what_is_empty() {
        assert_eq!(facts([("Run", "r1".to_owned()), ("Reason", String::new()), ("Status", "ok".to_owned())]), "Run:    r1\nStatus: ok\n");
    }
}
