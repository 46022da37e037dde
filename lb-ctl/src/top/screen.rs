//! The screen: a head, the table of a view, a line about the selected row and the keys. It fits any size; what does not, goes.

use ratatui::{
    buffer::Buffer,
    layout::{Alignment, Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Clear, Paragraph, Widget},
};

use crate::show::text::{count, duration};

use super::{
    columns::{Align, Column, View},
    poll::Sample,
    rows::{Cell, Row, Tone},
    state::Top,
    text::{bars, short, shortened},
};

/// Draws the state.
pub(super) struct Screen<'t>(pub(super) &'t Top);

impl Widget for Screen<'_> {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let is_tall = area.height >= TALL;
        let lines = [if is_tall { 3 } else { 0 }, 1, 1, u16::from(is_tall), 1];
        let [head, tabs, _, detail, keys] = lines;
        let parts = [head, tabs].map(Constraint::Length).into_iter();
        let parts = parts.chain([Constraint::Fill(1)]).chain([detail, keys].map(Constraint::Length));
        let [head, tabs, table, detail, keys] = Layout::vertical(parts).areas(area);
        let rows = self.0.rows();
        self.head(head, buffer);
        self.tabs(tabs, buffer);
        self.table(&rows, table, buffer);
        let selected = rows.get(self.0.selected(&rows)).map_or("", |row| row.detail.as_str());
        Line::styled(selected, DIM).render(detail, buffer);
        self.keys(keys, buffer);
        if self.0.is_helping {
            help(area, buffer);
        }
    }
}

impl Screen<'_> {
    fn head(&self, area: Rect, buffer: &mut Buffer) {
        let lines = match &self.0.sample {
            Some(sample) => self.totals(sample, area.width),
            None if self.0.away.is_some() => vec![],
            None => vec![Line::raw("asking lbd ...")],
        };
        Paragraph::new(lines).render(area, buffer);
    }

    /// The daemon, its rates and its flow table.
    fn totals(&self, sample: &Sample, width: u16) -> Vec<Line<'static>> {
        let status = &sample.status;
        let mut rates = ["-"; 5].map(String::from);
        if let Some(known) = self.0.history.all.rates {
            rates = known.map(|rate| short(rate) + "/s");
        }
        let [packets, bits, new_flows, drops, handed_over] = rates;
        let points: Vec<f64> = self.0.history.all.graph.iter().copied().collect();
        let table = &status.flow_table;
        let registered = sample.targets.iter().filter(|row| row.is_registered());
        let healthy = registered.clone().filter(|row| row.state == "healthy").count();
        let first = format!(
            "lbd {}, process {}, up {}  ",
            status.version,
            status.pid,
            duration(status.uptime_seconds)
        );
        let second = format!(
            "packets {packets}  bits {bits}  new flows {new_flows}  drops {drops}  handed over {handed_over}"
        );
        let graph = bars(&points, usize::from(width).saturating_sub(first.len()));
        let third = format!(
            "flows {} of {} ({} half-open)  targets {} of {} healthy",
            count(table.flows),
            count(table.capacity),
            count(table.half_open),
            healthy,
            registered.count()
        );
        let first = Line::from(vec![Span::raw(first), Span::styled(graph, GRAPH)]);
        vec![first, Line::raw(second), Line::raw(third)]
    }

    fn tabs(&self, area: Rect, buffer: &mut Buffer) {
        let mut spans: Vec<Span<'_>> = Vec::new();
        for view in View::ALL {
            let is_shown = view == self.0.view;
            let style = if is_shown { Style::new().add_modifier(Modifier::REVERSED) } else { DIM };
            spans.extend([Span::styled(format!(" {} ", view.title()), style), Span::raw(" ")]);
        }
        if let Some(scope) = &self.0.scope {
            spans.push(Span::raw(format!("of {} ", scope.listener)));
        }
        if self.0.is_paused {
            spans.push(Span::styled(" paused ", ALARM));
        }
        Line::from(spans).render(area, buffer);
        if let Some(why) = &self.0.away {
            let banner = format!(" lbd is away, asking again: {why}");
            Paragraph::new(banner).style(ALARM).render(area, buffer);
        }
    }

    fn table(&self, rows: &[Row], area: Rect, buffer: &mut Buffer) {
        let shape = Shape::new(self.0.view.columns(), rows, area.width);
        let mut lines = area.rows();
        let Some(head) = lines.next() else { return };
        self.header(&shape, head, buffer);
        if rows.is_empty() && self.0.sample.is_some() {
            let nothing = if self.0.view == View::Drops { "Nothing was dropped." } else { "None." };
            lines.take(1).for_each(|line| Line::styled(nothing, DIM).render(line, buffer));
            return;
        }
        let selected = self.0.selected(rows);
        let room = usize::from(area.height).saturating_sub(1);
        let first = (selected + 1).saturating_sub(room);
        for ((at, row), line) in rows.iter().enumerate().skip(first).zip(lines) {
            shape.draw(&row.cells, line, buffer);
            let graph = shape.graph(line);
            Line::styled(bars(&row.graph, usize::from(graph.width)), GRAPH).render(graph, buffer);
            if at == selected {
                buffer.set_style(line, Style::new().add_modifier(Modifier::REVERSED));
            }
        }
    }

    fn header(&self, shape: &Shape, area: Rect, buffer: &mut Buffer) {
        let mark = if self.0.is_reversed() { "^" } else { "v" };
        for (index, column, place) in shape.places(area) {
            let is_sorted = index == self.0.sorted_by();
            let title = if is_sorted { format!("{mark}{}", column.title) } else { column.title.into() };
            cell(&title, column, HEADER).render(place, buffer);
        }
    }

    fn keys(&self, area: Rect, buffer: &mut Buffer) {
        let open = match (self.0.view, &self.0.scope) {
            (_, Some(_)) => "Esc back  ",
            (View::Listeners, None) => "Enter targets  ",
            _ => "",
        };
        let keys = format!("q quit  tab view  {open}s sort  r reverse  p pause  ? help");
        Line::styled(keys, DIM).render(area, buffer);
    }
}

/// Which columns there is room for, and where they stand.
struct Shape {
    columns: Vec<(usize, &'static Column, u16)>,
}

impl Shape {
    fn new(columns: &'static [Column], rows: &[Row], width: u16) -> Shape {
        let shown = columns.iter().enumerate().filter(|(_, column)| column.from_width <= width);
        let mut shown: Vec<_> = shown.map(|(index, column)| (index, column, column.width)).collect();
        if let Some(((_, column, first), others)) = shown.split_first_mut() {
            let taken: u16 = others.iter().map(|(.., width)| width + GAP).sum();
            let longest =
                rows.iter().filter_map(|row| row.cells.first()).map(|cell| cell.text.chars().count()).max();
            let wanted = u16::try_from(longest.unwrap_or(0)).unwrap_or(u16::MAX);
            *first =
                wanted.max(column.title.len() as u16 + 1).min(width.saturating_sub(taken)).max(column.width);
        }
        Shape { columns: shown }
    }

    /// Each column, and where it stands in a line.
    fn places(&self, line: Rect) -> impl Iterator<Item = (usize, &'static Column, Rect)> {
        let mut x = line.x;
        self.columns.iter().map(move |(index, column, width)| {
            let place = Rect { x, width: *width, ..line }.intersection(line);
            x = x.saturating_add(width + GAP);
            (*index, *column, place)
        })
    }

    fn draw(&self, cells: &[Cell], line: Rect, buffer: &mut Buffer) {
        for (index, column, place) in self.places(line) {
            let text = shortened(&cells[index].text, place.width.into());
            cell(&text, column, style(cells[index].tone)).render(place, buffer);
        }
    }

    /// What is left of a line.
    fn graph(&self, line: Rect) -> Rect {
        let taken: u16 = self.columns.iter().map(|(.., width)| width + GAP).sum();
        Rect { x: line.x.saturating_add(taken), width: line.width.saturating_sub(taken), ..line }
    }
}

fn cell<'t>(text: &'t str, column: &Column, style: Style) -> Line<'t> {
    let alignment = match column.align {
        Align::Left => Alignment::Left,
        Align::Right => Alignment::Right,
    };
    Line::styled(text, style).alignment(alignment)
}

fn style(tone: Tone) -> Style {
    match tone {
        Tone::Plain => Style::new(),
        Tone::Good => Style::new().fg(Color::Green),
        Tone::Bad => Style::new().fg(Color::Red),
        Tone::Odd => Style::new().fg(Color::Yellow),
    }
}

fn help(area: Rect, buffer: &mut Buffer) {
    let lines: Vec<Line<'_>> =
        HELP.iter().map(|(keys, meaning)| Line::raw(format!(" {keys:<14} {meaning} "))).collect();
    let place = area.centered(Constraint::Length(HELP_WIDTH), Constraint::Length(HELP.len() as u16 + 2));
    Clear.render(place, buffer);
    Paragraph::new(lines).block(Block::bordered().title(" Keys ")).render(place, buffer);
}

const HELP: [(&str, &str); 10] = [
    ("q, Ctrl-C", "quit"),
    ("tab, shift-tab", "next view, previous view"),
    ("up, down, k, j", "select a row"),
    ("PgUp, PgDn", "ten rows on"),
    ("Home, End, g, G", "first row, last row"),
    ("Enter", "from a listener to its targets"),
    ("Esc", "back to the listeners"),
    ("s, r", "sort by the next column, reverse"),
    ("p", "pause, and go on"),
    ("?", "this help; any key closes it"),
];
const HELP_WIDTH: u16 = 52;

/// From this height on there are totals and a line about the selected row.
const TALL: u16 = 12;

/// Between columns.
const GAP: u16 = 1;

const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const HEADER: Style = Style::new().add_modifier(Modifier::BOLD);
const GRAPH: Style = Style::new().fg(Color::Cyan);
const ALARM: Style = Style::new().fg(Color::White).bg(Color::Red);
