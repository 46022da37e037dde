//! The table: a row for each peer, a column for each measure; medians, and below them the least and the most of all rounds.

use crate::{measure::Measure, peer::Peer, record::Record};

/// The whole table, in two parts beneath each other, with a line end after each row.
pub fn table(record: &Record) -> String {
    let (left, right) = Measure::ALL.split_at(MEASURES_ABREAST);
    format!("{}\n{}", part(record, left), part(record, right))
}

fn part(record: &Record, measures: &[Measure]) -> String {
    let cells =
        |cell: &dyn Fn(Measure) -> String| measures.iter().map(|&measure| cell(measure)).collect::<Vec<_>>();
    let mut text = String::new();
    for line in 0..2 {
        text += &row("", &cells(&|measure| measure.heading()[line].to_owned()));
    }
    for peer in record.peers() {
        text += &row(peer.title(), &cells(&|measure| middle(record, peer, measure)));
        if measures.iter().any(|&measure| record.spread(peer, measure).is_some()) {
            text += &row("", &cells(&|measure| range(record, peer, measure)));
        }
    }
    text
}

/// Every reason why a figure is missing that is too long for its column, with a line end after each.
pub fn reasons(record: &Record) -> String {
    let mut lines = Vec::new();
    for peer in record.peers() {
        for why in Measure::ALL.into_iter().filter_map(|measure| record.absence(peer, measure)) {
            let line = format!("{}: {why}\n", peer.title());
            if why.len() > CELL && !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    lines.concat()
}

fn middle(record: &Record, peer: Peer, measure: Measure) -> String {
    match (record.spread(peer, measure), record.absence(peer, measure)) {
        (Some(spread), _) => measure.show(spread.median),
        (None, Some(why)) if why.len() <= CELL => why.to_owned(),
        (None, Some(_)) => "see below".to_owned(),
        (None, None) => String::new(),
    }
}

fn range(record: &Record, peer: Peer, measure: Measure) -> String {
    let spread = record.spread(peer, measure);
    spread.map_or(String::new(), |spread| {
        format!("{}..{}", measure.show(spread.least), measure.show(spread.most))
    })
}

fn row(title: &str, cells: &[String]) -> String {
    let cells: String = cells.iter().map(|cell| format!("  {cell:>CELL$}")).collect();
    format!("{}\n", format!("{title:<TITLE$}{cells}").trim_end())
}

/// UDP and CPU time; the rest is TCP.
const MEASURES_ABREAST: usize = 5;
/// Characters of the first column.
const TITLE: usize = 26;
/// Characters of every other column.
const CELL: usize = 14;
