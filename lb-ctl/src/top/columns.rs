//! The views and their columns.

/// What the table shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum View {
    #[default]
    Listeners,
    Targets,
    Drops,
    Workers,
}

/// A column of numbers or words. The first of a view is as wide as its longest cell, if there is room.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    /// In characters; of the first column, the least.
    pub(super) width: u16,
    pub(super) align: Align,
    /// Left out on terminals narrower than this.
    pub(super) from_width: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

impl View {
    pub(super) const ALL: [View; 4] = [View::Listeners, View::Targets, View::Drops, View::Workers];

    pub(super) const fn title(self) -> &'static str {
        match self {
            View::Listeners => "Listeners",
            View::Targets => "Targets",
            View::Drops => "Drops",
            View::Workers => "Workers",
        }
    }

    /// The view after this one, or before it.
    pub(super) fn step(self, by: usize) -> View {
        View::ALL[(self as usize + by) % View::ALL.len()]
    }

    pub(super) const fn columns(self) -> &'static [Column] {
        match self {
            View::Listeners => LISTENERS,
            View::Targets => TARGETS,
            View::Drops => DROPS,
            View::Workers => WORKERS,
        }
    }

    /// The column that rows are sorted by at first.
    pub(super) const fn sorted_by(self) -> usize {
        match self {
            View::Drops => 1,
            View::Listeners | View::Targets | View::Workers => 0,
        }
    }
}

const fn text(title: &'static str, width: u16, from_width: u16) -> Column {
    Column { title, width, align: Align::Left, from_width }
}

const fn number(title: &'static str, width: u16, from_width: u16) -> Column {
    Column { title, width, align: Align::Right, from_width }
}

const LISTENERS: &[Column] = &[
    text("LISTENER", 12, 0),
    number("HEALTHY", 8, 40),
    number("PKT/S", 6, 0),
    number("BIT/S", 6, 48),
    number("NEW/S", 6, 56),
    number("FLOWS", 6, 32),
];

const TARGETS: &[Column] = &[
    text("TARGET", 14, 0),
    text("GROUP", 10, 72),
    text("STATE", 12, 36),
    number("PKT/S", 6, 0),
    number("BIT/S", 6, 54),
    number("NEW/S", 6, 62),
    number("FLOWS", 6, 46),
];

const DROPS: &[Column] = &[text("REASON", 20, 0), number("FRAMES/S", 9, 0), number("FRAMES", 14, 50)];

const WORKERS: &[Column] = &[
    number("WORKER", 7, 0),
    number("CPU", 4, 46),
    number("LOAD", 6, 0),
    number("PKT/S", 6, 0),
    number("HANDED/S", 9, 34),
    number("DROP/S", 7, 42),
    number("FULL/S", 7, 56),
    number("FLOWS", 6, 64),
];
