//! Ratios beside the goals that they were set. Nothing is judged: the reader sees both.

use crate::{
    measure::{Flows, Measure},
    peer::{Peer, Source},
    record::{Record, Spread},
};

/// What a ratio is meant to be.
#[derive(Clone, Copy, Debug)]
enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

/// The ratios of lbd, in each of its modes, to a peer.
#[derive(Clone, Copy, Debug)]
struct Comparison {
    measure: Measure,
    to: Peer,
    goal: Goal,
}

/// Every comparison for which the record has both sides, with a line end after each; empty where it has none.
pub fn ratios(record: &Record) -> String {
    let mut lines = String::new();
    for comparison in COMPARISONS {
        let modes = MODES.map(|mode| record.ratio(mode, comparison.to, comparison.measure));
        if modes.iter().any(Option::is_some) {
            lines += &line(&comparison.what(), comparison.goal, &modes.map(show));
        }
    }
    for measure in [Measure::Packets(Flows::Thousand), Measure::Connections] {
        if let Some(ratio) = record.ratio(Peer::LBD_THOUSAND, Peer::LBD, measure) {
            let what = format!("{}: 1,000 listeners more / none", measure.heading().join(" "));
            lines += &line(&what, Goal::AtLeast(1.0), &[show(Some(ratio))]);
        }
    }
    if lines.is_empty() {
        return lines;
    }
    let modes: String = MODES.iter().map(|mode| format!("  {:<RATIO$}", mode.title())).collect();
    format!("{:WHAT$} {:<GOAL$}{}\n{lines}", "", "goal", modes.trim_end())
}

impl Comparison {
    fn what(&self) -> String {
        format!("{}: lbd / {}", self.measure.heading().join(" "), self.to.name())
    }
}

fn line(what: &str, goal: Goal, ratios: &[String]) -> String {
    let goal = match goal {
        Goal::AtLeast(bound) => format!(">= {bound:.2}"),
        Goal::AtMost(bound) => format!("<= {bound:.2}"),
    };
    let ratios: String = ratios.iter().map(|ratio| format!("  {ratio:<RATIO$}")).collect();
    format!("{}\n", format!("{what:<WHAT$} {goal:<GOAL$}{ratios}").trim_end())
}

fn show(ratio: Option<Spread>) -> String {
    ratio
        .map_or("-".into(), |Spread { median, least, most }| format!("{median:.2} [{least:.2} .. {most:.2}]"))
}

const MODES: [Peer; 4] = [Peer::LBD, Peer::LBD_BUSY, Peer::LBD_NAT, Peer::LBD_NAT_BUSY];

const COMPARISONS: [Comparison; 12] = [
    more(Measure::Packets(Flows::One), Peer::Testpmd, 0.95),
    more(Measure::Packets(Flows::Thousand), Peer::Testpmd, 0.95),
    more(Measure::Packets(Flows::HundredThousand), Peer::Testpmd, 0.95),
    more(Measure::Packets(Flows::One), NFTABLES, 2.0),
    more(Measure::Packets(Flows::Thousand), NFTABLES, 2.0),
    more(Measure::Packets(Flows::HundredThousand), NFTABLES, 2.0),
    more(Measure::Connections, Peer::Testpmd, 0.95),
    more(Measure::Connections, Peer::Haproxy, 1.25),
    more(Measure::Requests, NFTABLES, 1.0),
    more(Measure::Bulk, Peer::Testpmd, 0.95),
    Comparison { measure: Measure::LatencyHalf, to: Peer::Testpmd, goal: Goal::AtMost(1.15) },
    Comparison { measure: Measure::LatencyHalf, to: Peer::Haproxy, goal: Goal::AtMost(0.5) },
];

const fn more(measure: Measure, to: Peer, bound: f64) -> Comparison {
    Comparison { measure, to, goal: Goal::AtLeast(bound) }
}

const NFTABLES: Peer = Peer::Nftables(Source::Kept);
/// Characters of what is compared.
const WHAT: usize = 54;
/// Characters of a goal.
const GOAL: usize = 8;
/// Characters of a ratio.
const RATIO: usize = 24;
