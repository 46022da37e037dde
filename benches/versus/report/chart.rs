//! The chart: an SVG picture with a panel of bars for each measure, the median as the bar and the range as a line across its end.

use std::fmt::Write as _;

use crate::{
    measure::Measure,
    peer::Peer,
    record::{Record, Spread},
};

/// The whole picture. `caption` stands below the title, a line for each of its lines.
pub fn chart(record: &Record, caption: &str) -> String {
    let panels: Vec<Panel> =
        Measure::ALL.into_iter().filter_map(|measure| Panel::of(record, measure)).collect();
    let top = TITLE_HEIGHT + LINE_HEIGHT * (caption.lines().count() + 1);
    let rows: Vec<&[Panel]> = panels.chunks(PANELS_ABREAST).collect();
    let height = |row: &[Panel]| row.iter().map(Panel::height).max().unwrap_or(0);
    let total = top + rows.iter().map(|row| height(row)).sum::<usize>();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{total}\" \
         viewBox=\"0 0 {WIDTH} {total}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n\
         <rect width=\"{WIDTH}\" height=\"{total}\" fill=\"#fff\"/>\n"
    );
    svg += &text(MARGIN, 28, "font-size=\"18\" font-weight=\"bold\"", TITLE);
    for (index, line) in caption.lines().enumerate() {
        svg += &text(MARGIN, TITLE_HEIGHT + LINE_HEIGHT * (index + 1) - 4, "fill=\"#555\"", line);
    }
    let mut y = top;
    for row in rows {
        for (index, panel) in row.iter().enumerate() {
            svg += &panel.draw(MARGIN + index * PANEL_WIDTH, y);
        }
        y += height(row);
    }
    svg + "</svg>\n"
}

/// The bars of one measure.
struct Panel {
    measure: Measure,
    bars: Vec<(Peer, Spread)>,
}

impl Panel {
    /// `None` where nobody has a figure.
    fn of(record: &Record, measure: Measure) -> Option<Panel> {
        let bar = |peer| Some((peer, record.spread(peer, measure)?));
        let bars: Vec<_> = record.peers().filter_map(bar).collect();
        (!bars.is_empty()).then_some(Panel { measure, bars })
    }

    fn height(&self) -> usize {
        PANEL_HEAD + self.bars.len() * BAR_PITCH + PANEL_GAP
    }

    fn draw(&self, x: usize, y: usize) -> String {
        let most = self.bars.iter().map(|(_, spread)| spread.most).fold(f64::MIN_POSITIVE, f64::max);
        let mut svg = text(x, y + 14, "font-weight=\"bold\"", self.measure.title());
        for (index, (peer, spread)) in self.bars.iter().enumerate() {
            let y = y + PANEL_HEAD + index * BAR_PITCH;
            let end = |value: f64| (x + NAME_WIDTH) as f64 + value / most * BAR_WIDTH as f64;
            let (start, middle) = (x + NAME_WIDTH, y + BAR_HEIGHT / 2);
            svg += &text(start - 6, y + 12, "text-anchor=\"end\"", peer.title());
            writeln!(
                svg,
                "<rect x=\"{start}\" y=\"{y}\" width=\"{:.1}\" height=\"{BAR_HEIGHT}\" fill=\"{}\"/>\n\
                 <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle}\" y2=\"{middle}\" stroke=\"#222\"/>",
                end(spread.median) - start as f64,
                colour(*peer),
                end(spread.least),
                end(spread.most)
            )
            .expect("a String takes all text");
            let label_at = end(spread.most).ceil() as usize + 6;
            svg += &text(label_at, y + 12, "", &self.measure.show(spread.median));
        }
        svg
    }
}

fn colour(peer: Peer) -> &'static str {
    match peer {
        Peer::Lbd(_) => "#2a7ab8",
        Peer::Testpmd => "#d9902f",
        _ => "#b9c0c7",
    }
}

fn text(x: usize, y: usize, attributes: &str, content: &str) -> String {
    let content = content.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<text x=\"{x}\" y=\"{y}\" {attributes}>{content}</text>\n")
}

const TITLE: &str = "lbd side by side with others, on veth";
// Pixels.
const PANELS_ABREAST: usize = 2;
const MARGIN: usize = 20;
const TITLE_HEIGHT: usize = 40;
const LINE_HEIGHT: usize = 17;
const PANEL_HEAD: usize = 24;
const PANEL_GAP: usize = 22;
const NAME_WIDTH: usize = 170;
const BAR_WIDTH: usize = 260;
const BAR_HEIGHT: usize = 15;
const BAR_PITCH: usize = 19;
const PANEL_WIDTH: usize = NAME_WIDTH + BAR_WIDTH + 90;
const WIDTH: usize = 2 * MARGIN + PANELS_ABREAST * PANEL_WIDTH;
