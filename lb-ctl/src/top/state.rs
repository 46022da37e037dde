//! What is shown, and what keys do to it. Pure.

use super::{
    columns::View,
    history::History,
    poll::Sample,
    rows::{self, Row},
};

/// The screen's state.
#[derive(Debug, Default)]
pub(super) struct Top {
    pub(super) sample: Option<Box<Sample>>,
    pub(super) history: History,
    /// Why the daemon does not answer.
    pub(super) away: Option<String>,
    pub(super) view: View,
    /// The listener whose targets alone are shown.
    pub(super) scope: Option<Scope>,
    pub(super) is_paused: bool,
    pub(super) is_helping: bool,
    /// By view.
    tables: [Table; View::ALL.len()],
}

/// A listener that was entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) listener: String,
    groups: Vec<String>,
}

/// What one view remembers.
#[derive(Clone, Debug, Default)]
struct Table {
    /// `None`: as the view has it at first.
    sorted_by: Option<usize>,
    is_reversed: bool,
    /// Key of the selected row; the first where that is gone.
    selected: Option<String>,
}

/// A key that means something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    Enter,
    Back,
    NextView,
    PreviousView,
    Sort,
    Reverse,
    Pause,
    Help,
}

impl Top {
    /// Takes in what the daemon says, unless the screen is to stand still.
    pub(super) fn take(&mut self, sample: Sample) {
        self.away = None;
        if !self.is_paused {
            self.history.take(&sample);
            self.sample = Some(sample.into());
        }
    }

    /// The daemon does not answer: what was counted last stays, rates are not known.
    pub(super) fn lose(&mut self, why: String) {
        self.history.lose();
        self.away = Some(why);
    }

    /// The rows of the view, in their order.
    pub(super) fn rows(&self) -> Vec<Row> {
        let Some(sample) = &self.sample else { return Vec::new() };
        let groups = self.scope.as_ref().map(|scope| scope.groups.as_slice());
        let mut rows = rows::rows(self.view, groups, sample, &self.history);
        let by = self.sorted_by();
        rows.sort_by(|one, other| {
            one.cells[by].compare(&other.cells[by]).then_with(|| one.key.cmp(&other.key))
        });
        if self.is_reversed() {
            rows.reverse();
        }
        rows
    }

    /// Index of the selected row.
    pub(super) fn selected(&self, rows: &[Row]) -> usize {
        let key = self.table().selected.as_ref();
        key.and_then(|key| rows.iter().position(|row| row.key == *key)).unwrap_or(0)
    }

    /// Index of the column that rows are sorted by.
    pub(super) fn sorted_by(&self) -> usize {
        self.table().sorted_by.unwrap_or(self.view.sorted_by())
    }

    pub(super) fn is_reversed(&self) -> bool {
        self.table().is_reversed
    }

    /// Does what a key asks for.
    pub(super) fn press(&mut self, key: Key) {
        if std::mem::take(&mut self.is_helping) {
            return; // Any key closes the help.
        }
        match key {
            Key::Up => self.select(|at, _| at.saturating_sub(1)),
            Key::Down => self.select(|at, _| at + 1),
            Key::PageUp => self.select(|at, _| at.saturating_sub(PAGE)),
            Key::PageDown => self.select(|at, _| at + PAGE),
            Key::First => self.select(|_, _| 0),
            Key::Last => self.select(|_, count| count),
            Key::Enter => self.enter(),
            Key::Back => {
                if self.scope.take().is_some() {
                    self.view = View::Listeners;
                }
            }
            Key::NextView => self.show(self.view.step(1)),
            Key::PreviousView => self.show(self.view.step(View::ALL.len() - 1)),
            Key::Sort => {
                let next = (self.sorted_by() + 1) % self.view.columns().len();
                *self.table_mut() =
                    Table { sorted_by: Some(next), is_reversed: false, ..self.table().clone() };
            }
            Key::Reverse => self.table_mut().is_reversed ^= true,
            Key::Pause => self.is_paused ^= true,
            Key::Help => self.is_helping = true,
        }
    }

    fn show(&mut self, view: View) {
        self.view = view;
        self.scope = None;
    }

    /// From a listener to the targets of its groups.
    fn enter(&mut self) {
        let rows = self.rows();
        let Some(row) = rows.get(self.selected(&rows)).filter(|_| self.view == View::Listeners) else {
            return;
        };
        let listeners = self.sample.iter().flat_map(|sample| &sample.status.load_balancers);
        let entered = { listeners }.flat_map(|lb| &lb.listeners).find(|listener| listener.name == row.key);
        let Some(listener) = entered else { return };
        let groups = listener.forward.iter().map(|row| row.target_group.clone()).collect();
        self.scope = Some(Scope { listener: listener.name.clone(), groups });
        self.view = View::Targets;
    }

    fn select(&mut self, to: impl FnOnce(usize, usize) -> usize) {
        let rows = self.rows();
        let at = to(self.selected(&rows), rows.len()).min(rows.len().saturating_sub(1));
        self.table_mut().selected = rows.get(at).map(|row| row.key.clone());
    }

    fn table(&self) -> &Table {
        &self.tables[self.view as usize]
    }

    fn table_mut(&mut self) -> &mut Table {
        &mut self.tables[self.view as usize]
    }
}

/// Rows that a page up or down goes.
const PAGE: usize = 10;
