//! Tables that fit the terminal: where there is little room, columns that can be spared go, and columns of sentences or lists
//! wrap between words. Nothing else is ever broken: an address cut in two names somebody else.

use anstream::ColorChoice;
use comfy_table::{
    Attribute, Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets,
};

use super::{Columns, text::count};

/// How a table gives way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Give {
    /// Titles of the columns that can be spared, the first to go first.
    pub(super) spared: &'static [&'static str],
    /// Titles of the columns whose cells wrap between words.
    pub(super) wrapped: &'static [&'static str],
}

pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    if ColorChoice::global() == ColorChoice::Always {
        table.enforce_styling();
    }
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|title| Cell::new(title).add_attribute(Attribute::Bold)));
    table
}

pub(super) fn number(number: u64) -> Cell {
    right(count(number))
}

pub(super) fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// The table as text, as wide as the terminal at most, if that can be; with all columns, as wide as it is.
pub(super) fn fitted(mut table: Table, columns: Columns, give: Give) -> String {
    if let (Columns::Usual, Some(room)) = (columns, table.width()) {
        fit(&mut table, usize::from(room), give);
    }
    table.trim_fmt()
}

fn fit(table: &mut Table, room: usize, give: Give) {
    let titles = titles(table);
    let widths: Vec<usize> =
        table.column_max_content_widths().iter().map(|width| usize::from(*width)).collect();
    let mut least: Vec<usize> = (0..widths.len())
        .map(|at| match give.wrapped.contains(&titles[at].as_str()) {
            true => widths[at].min(WRAPPED_LEAST).max(longest_word(table, at)),
            false => widths[at],
        })
        .map(|width| width + PADDING)
        .collect();
    for title in give.spared {
        if least.iter().sum::<usize>() <= room {
            break;
        }
        if let Some(at) = titles.iter().position(|known| known == title) {
            least[at] = 0;
        }
    }
    if least.iter().sum::<usize>() > room {
        let wrapped = |at: usize| give.wrapped.contains(&titles[at].as_str());
        for (at, width) in least.iter_mut().enumerate().filter(|(at, width)| wrapped(*at) && **width > 0) {
            *width = longest_word(table, at) + PADDING;
        }
    }
    let mut spare = room.saturating_sub(least.iter().sum());
    for (at, column) in table.column_iter_mut().enumerate() {
        let constraint = match least[at] {
            0 => ColumnConstraint::Hidden,
            least => {
                let more = spare.min(widths[at] + PADDING - least);
                spare -= more;
                ColumnConstraint::Absolute(Width::Fixed(u16::try_from(least + more).unwrap_or(u16::MAX)))
            }
        };
        column.set_constraint(constraint);
    }
    table.set_content_arrangement(ContentArrangement::Dynamic);
}

fn titles(table: &Table) -> Vec<String> {
    table.header().iter().flat_map(|row| row.cell_iter()).map(Cell::content).collect()
}

fn longest_word(table: &Table, at: usize) -> usize {
    let cells = table.column_cells_with_header_iter(at).flatten();
    let words = |cell: &Cell| cell.content().split_whitespace().map(|word| word.chars().count()).max();
    cells.filter_map(words).max().unwrap_or(0)
}

/// Lines wrapped between words where the terminal is narrower than they are.
pub(super) fn wrapped(text: &str) -> String {
    match Table::new().width() {
        Some(room) => wrapped_to(text, usize::from(room)),
        None => text.into(),
    }
}

fn wrapped_to(text: &str, room: usize) -> String {
    let mut wrapped = String::with_capacity(text.len() + 8);
    for line in text.lines() {
        let mut width = 0;
        for word in line.split(' ') {
            let own = word.chars().count();
            if width > 0 && width + 1 + own > room {
                wrapped.push('\n');
                width = 0;
            } else if width > 0 {
                wrapped.push(' ');
                width += 1;
            }
            wrapped.push_str(word);
            width += own;
        }
        wrapped.push('\n');
    }
    wrapped
}

/// Columns that wrap are not squeezed below this while others can be spared, and never below their longest word.
const WRAPPED_LEAST: usize = 20;

/// Blanks beside the content of a column.
const PADDING: usize = 2;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The table on a terminal of this width.
    pub(in crate::show) fn on_terminal(mut table: Table, room: u16, give: Give) -> String {
        table.set_width(room);
        fitted(table, Columns::Usual, give)
    }

    fn rows() -> Table {
        let mut table = table(&["TARGET", "STATE", "SEEN", "REASON"]);
        table.add_row([
            "[2001:db8:19:1::2]:8080",
            "unhealthy",
            "12s ago",
            "Target.Timeout: Request timed out",
        ]);
        table
    }

    const GIVE: Give = Give { spared: &["SEEN", "STATE"], wrapped: &["REASON"] };

    #[test]
    fn columns_wrap_then_go_and_no_word_is_broken() {
        let lines = |room| on_terminal(rows(), room, GIVE).lines().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(lines(200).len(), 2);
        for (room, is_seen, has_state) in [(70, true, true), (62, false, true), (50, false, false)] {
            let lines = lines(room);
            assert!(lines.iter().all(|line| line.chars().count() <= usize::from(room)), "{lines:#?}");
            assert!(lines[1].contains("[2001:db8:19:1::2]:8080") && lines.len() == 3, "{lines:#?}");
            assert_eq!(
                (lines[0].contains("SEEN"), lines[0].contains("STATE")),
                (is_seen, has_state),
                "{room}"
            );
        }
        assert!(lines(10)[1].contains("[2001:db8:19:1::2]:8080"), "{:#?}", lines(10));
    }

    #[test]
    fn all_columns_are_shown_whatever_the_width() {
        let mut table = rows();
        table.set_width(20);
        let text = fitted(table, Columns::All, GIVE);
        assert!(text.lines().count() == 2 && text.contains("SEEN"), "{text}");
    }

    #[test]
    fn sentences_wrap_between_words() {
        assert_eq!(wrapped_to("one two three\nfour\n", 8), "one two\nthree\nfour\n");
        assert_eq!(wrapped_to("one two three\n", 80), "one two three\n");
    }
}
