//! Tables for people: aligned columns without lines, as kubectl prints them, so that they are easy to cut and grep.

use comfy_table::{Cell, ContentArrangement, Table, presets::NOTHING};

/// A table with a header; empty text if there are no rows.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.map(Cell::new));
    let mut any = false;
    for row in rows {
        any = true;
        table.add_row(row.map(|text| Cell::new(first_line(&text))));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    if any { trimmed(&table) } else { String::new() }
}

/// Names and values under each other, without a header; empty values are left out.
pub(crate) fn facts<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let rows: Vec<_> = rows.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default() + 2;
    rows.iter().map(|(name, value)| format!("{:width$}{value}\n", format!("{name}:"))).collect()
}

fn trimmed(table: &Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
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
    fn facts_leave_out_what_is_empty() {
        assert_eq!(facts([("Run", "r1".to_owned()), ("Reason", String::new()), ("Status", "ok".to_owned())]), "Run:    r1\nStatus: ok\n");
    }
}
