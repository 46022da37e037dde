//! Tables, numbers and durations as people like to read them.

use anstream::ColorChoice;
use comfy_table::{
    Attribute, Cell, CellAlignment, ColumnConstraint, ContentArrangement, Row, Table, Width, presets,
};

pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    if ColorChoice::global() == ColorChoice::Always {
        table.enforce_styling();
    }
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header.iter().map(|title| Cell::new(title).add_attribute(Attribute::Bold)));
    table
}

/// A table as text. Where the terminal is too narrow for it, columns of these titles are left out, one by one; the last column is
/// folded between words, others never.
pub(super) fn fitted(mut table: Table, dispensable: &[&str]) -> String {
    let Some(terminal) = table.width() else { return table.trim_fmt() };
    let mut widths = table.column_max_content_widths();
    let titles: Vec<String> = table.header().map(contents).unwrap_or_default();
    let Some(last) = widths.last_mut() else { return table.trim_fmt() };
    *last = (*last).min(LAST_COLUMN_LEAST.max(longest_last_word(&table)));
    let mut wanted: usize = widths.iter().map(padded).sum();
    let fixed = widths.len() - 1;
    for column in table.column_iter_mut().take(fixed) {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
    if let Some(column) = table.column_mut(fixed) {
        column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(
            widths[fixed].saturating_add(PADDING),
        )));
    }
    for title in dispensable {
        let Some(index) = titles.iter().position(|other| other == title).filter(|_| wanted > terminal.into())
        else {
            continue;
        };
        wanted -= padded(&widths[index]);
        if let Some(column) = table.column_mut(index) {
            column.set_constraint(ColumnConstraint::Hidden);
        }
    }
    table.trim_fmt()
}

fn padded(width: &u16) -> usize {
    width.saturating_add(PADDING).into()
}

fn longest_last_word(table: &Table) -> u16 {
    let texts = table.row_iter().filter_map(|row| contents(row).pop());
    let longest = texts.flat_map(|text| text.split_whitespace().map(|word| word.chars().count()).max()).max();
    longest.and_then(|count| count.try_into().ok()).unwrap_or_default()
}

fn contents(row: &Row) -> Vec<String> {
    row.cell_iter().map(Cell::content).collect()
}

pub(super) fn number(number: u64) -> Cell {
    right(count(number))
}

pub(super) fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// A number with its thousands set apart.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(super) fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

pub(super) fn seconds(ms: u32) -> String {
    format!("{:.1} s", f64::from(ms) / 1_000.0)
}

pub(crate) fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

pub(crate) fn plural(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// How long ago something was, as short as can be.
pub(super) fn ago(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s ago"),
        60..3_600 => format!("{}m ago", seconds / 60),
        3_600..86_400 => format!("{}h ago", seconds / 3_600),
        _ => format!("{}d ago", seconds / 86_400),
    }
}

/// A last column is folded no narrower than this, in characters, or than its longest word.
const LAST_COLUMN_LEAST: u16 = 16;
/// Blanks around the text of a column.
const PADDING: u16 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_terminals_get_fewer_columns_and_whole_words() {
        let on_terminal = |width| {
            let mut table = table(&["NAME", "SEEN", "REASON"]);
            table.add_row(["web", "3h ago", "health checks failed"]).set_width(width);
            fitted(table, &["SEEN"])
        };
        let lines =
            |width| on_terminal(width).lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
        assert_eq!(lines(80), [" NAME  SEEN    REASON", " web   3h ago  health checks failed"]);
        assert_eq!(lines(26), [" NAME  REASON", " web   health checks", "       failed"]);
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 1_023, 1_536, 5 << 30].map(bytes), ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]);
        assert_eq!([5, 65, 3_700, 90_000].map(duration), ["5 s", "1 min 5 s", "1 h 1 min", "1 d 1 h"]);
        assert_eq!([5, 65, 3_700, 90_000].map(ago), ["5s ago", "1m ago", "1h ago", "1d ago"]);
        assert_eq!([plural(1, "target"), plural(2, "target")], ["1 target", "2 targets"]);
    }
}
