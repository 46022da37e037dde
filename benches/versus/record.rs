//! All that was measured, run by run, and what runs of several rounds say together.

use crate::{measure::Measure, peer::Peer};

/// What one run of one load came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The figure, in the measure's unit.
    Figure(f64),
    /// Why there is none.
    Absent(String),
}

/// One figure of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// From 1.
    pub round: u32,
    /// Who was measured.
    pub peer: Peer,
    /// What was measured.
    pub measure: Measure,
    /// What it came to.
    pub outcome: Outcome,
    /// What other programs of the machine used meanwhile, in CPUs.
    pub others: f64,
}

/// All runs.
#[derive(Clone, Debug, Default)]
pub struct Record(pub Vec<Run>);

/// The middle of several figures and how far they spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The one in the middle; of an even number, the mean of both.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

impl Record {
    /// Who was measured, in the order of the table.
    pub fn peers(&self) -> impl Iterator<Item = Peer> {
        Peer::ALL.into_iter().filter(|peer| self.0.iter().any(|run| run.peer == *peer))
    }

    /// All rounds' figures together; `None` where there are none.
    pub fn spread(&self, peer: Peer, measure: Measure) -> Option<Spread> {
        let figures = self.figures(peer, measure);
        Spread::of(&figures.into_iter().map(|(_, figure)| figure).collect::<Vec<_>>())
    }

    /// The figures of `peer` divided by those of `other`, each within its round: what drifts from round to round drops out.
    pub fn ratio(&self, peer: Peer, other: Peer, measure: Measure) -> Option<Spread> {
        let others = self.figures(other, measure);
        let within_its_round = |(round, figure): (u32, f64)| {
            let (_, base) = others.iter().find(|(other, _)| *other == round)?;
            (*base > 0.0).then(|| figure / base)
        };
        let ratios = self.figures(peer, measure).into_iter().filter_map(within_its_round);
        Spread::of(&ratios.collect::<Vec<_>>())
    }

    /// The first reason why a figure is missing.
    pub fn absence(&self, peer: Peer, measure: Measure) -> Option<&str> {
        self.of(peer, measure).find_map(|run| match &run.outcome {
            Outcome::Absent(why) => Some(why.as_str()),
            Outcome::Figure(_) => None,
        })
    }

    /// Rounds and figures.
    fn figures(&self, peer: Peer, measure: Measure) -> Vec<(u32, f64)> {
        let figure = |run: &Run| match run.outcome {
            Outcome::Figure(figure) => Some((run.round, figure)),
            Outcome::Absent(_) => None,
        };
        self.of(peer, measure).filter_map(figure).collect()
    }

    fn of(&self, peer: Peer, measure: Measure) -> impl Iterator<Item = &Run> {
        self.0.iter().filter(move |run| run.peer == peer && run.measure == measure)
    }
}

impl Spread {
    /// `None` of no figures.
    pub fn of(figures: &[f64]) -> Option<Spread> {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
        Some(Spread { median, least, most })
    }
}
