//! Numbers as short as can be, graphs of one line, and a screen as text.

use std::borrow::Cow;

use ratatui::{buffer::Buffer, symbols::bar};

/// A number in five characters at most, with a decimal prefix: `0`, `3.4`, `999`, `1.23k`, `45.6M`.
pub(super) fn short(number: f64) -> String {
    if number < 0.05 {
        return "0".into();
    }
    let mut value = number;
    for prefix in ["", "k", "M", "G", "T"] {
        let digits = match value {
            ..9.995 if prefix.is_empty() => 1,
            ..9.995 => 2,
            ..99.95 => usize::from(!prefix.is_empty()),
            _ => 0,
        };
        if value < 999.5 {
            return format!("{value:.digits$}{prefix}");
        }
        value /= 1_000.0;
    }
    format!("{value:.0}P")
}

/// A whole number in five characters at most: `0`, `3`, `999`, `1.23k`.
pub(super) fn short_count(count: u64) -> String {
    if count < 1_000 { count.to_string() } else { short(count as f64) }
}

/// A text in `width` characters at most: where it is longer, its middle goes, and what follows the last colon, as a port, stays.
pub(super) fn shortened(text: &str, width: usize) -> Cow<'_, str> {
    let length = text.chars().count();
    if length <= width {
        return text.into();
    }
    let port = text.rfind(':').map_or(0, |colon| text[colon..].chars().count());
    let end = port.max(width / 2).min(width.saturating_sub(1));
    let start = width.saturating_sub(1 + end);
    let shown = text.chars().take(start).chain(['…']).chain(text.chars().skip(length - end));
    shown.take(width).collect()
}

/// The last points as bars of eight heights, `width` characters at most; the highest is full. What is 0 stays empty.
pub(super) fn bars(points: &[f64], width: usize) -> String {
    let shown = &points[points.len().saturating_sub(width)..];
    let highest = shown.iter().copied().fold(0.0, f64::max);
    let bar = |point: &f64| match point / highest {
        ..=0.0 => " ",
        ..=0.125 => bar::ONE_EIGHTH,
        ..=0.25 => bar::ONE_QUARTER,
        ..=0.375 => bar::THREE_EIGHTHS,
        ..=0.5 => bar::HALF,
        ..=0.625 => bar::FIVE_EIGHTHS,
        ..=0.75 => bar::THREE_QUARTERS,
        ..=0.875 => bar::SEVEN_EIGHTHS,
        part if part.is_nan() => " ",
        _ => bar::FULL,
    };
    shown.iter().map(bar).collect()
}

/// The lines of a screen, without the blanks at their ends.
pub(super) fn of_buffer(buffer: &Buffer) -> String {
    let area = buffer.area;
    let line = |y: u16| -> String {
        let cells = (area.left()..area.right()).map(|x| buffer[(x, y)].symbol());
        cells.collect::<String>().trim_end().to_owned()
    };
    (area.top()..area.bottom()).map(line).collect::<Vec<_>>().join("\n") + "\n"
}
