//! The daemon's log: lines on standard output and standard error, written by threads of their own. Whoever reads them can be slow or
//! asleep: nobody who has something to say waits for that. What there is no room for is left out, and counted.

use std::{
    io::{self, Write},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded};

/// Prints a line of the log, formatted like `println!`.
macro_rules! say {
    ($($part:tt)*) => { $crate::log::out(format!($($part)*)) };
}

/// Prints a line of the log on standard error: a warning or an error.
macro_rules! complain {
    ($($part:tt)*) => { $crate::log::err(format!($($part)*)) };
}

pub(crate) use {complain, say};

/// Prints a line on standard output.
pub fn out(line: String) {
    match PENS.get() {
        Some(pens) => pens.out.write(line),
        None => println!("lbd: {line}"),
    }
}

/// Prints a line on standard error.
pub fn err(line: String) {
    match PENS.get() {
        Some(pens) => pens.err.write(line),
        None => eprintln!("lbd: {line}"),
    }
}

/// Has threads print from now on.
///
/// # Errors
/// When a thread cannot be started.
pub fn start() -> io::Result<()> {
    let pens = Pens { out: Pen::start(io::stdout())?, err: Pen::start(io::stderr())? };
    PENS.get_or_init(|| pens);
    Ok(())
}

/// Waits, but not for long, until all is printed that was said so far.
pub fn finish() {
    if let Some(pens) = PENS.get() {
        pens.out.finish();
        pens.err.finish();
    }
}

static PENS: OnceLock<Pens> = OnceLock::new();

struct Pens {
    out: Pen,
    err: Pen,
}

/// A thread that writes lines.
struct Pen {
    entries: Sender<Entry>,
    lost: Arc<AtomicU64>,
}

enum Entry {
    Line(String),
    /// Somebody waits for everything before this.
    Mark(Sender<()>),
}

impl Pen {
    fn start(paper: impl Write + Send + 'static) -> io::Result<Pen> {
        let (entries, waiting) = bounded(LINES);
        let lost = Arc::new(AtomicU64::new(0));
        let pen = Pen { entries, lost: lost.clone() };
        thread::Builder::new().name("log".into()).spawn(move || print(&waiting, &lost, paper))?;
        Ok(pen)
    }

    fn write(&self, line: String) {
        if self.entries.try_send(Entry::Line(line)).is_err() {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    fn finish(&self) {
        let (done, is_done) = bounded(1);
        if self.entries.send_timeout(Entry::Mark(done), PATIENCE).is_ok() {
            let _ = is_done.recv_timeout(PATIENCE); // A reader who sleeps must not keep the daemon from its end.
        }
    }
}

/// A reader who is gone is no reason to stop: there is nobody left to tell.
fn print(entries: &Receiver<Entry>, lost: &AtomicU64, mut paper: impl Write) {
    for entry in entries {
        match entry {
            Entry::Line(line) => drop(writeln!(paper, "lbd: {line}")),
            Entry::Mark(done) => drop(done.send(())),
        }
        let lost = lost.swap(0, Relaxed);
        if lost > 0 {
            drop(writeln!(
                paper,
                "lbd: WARNING: {lost} lines of this log are lost: they came faster than they were read"
            ));
        }
    }
}

/// Lines that wait to be printed, at most.
const LINES: usize = 4_096;

/// How long the end of the daemon waits for the log's reader.
const PATIENCE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::{io::Read, time::Instant};

    use super::*;

    #[test]
    fn nobody_waits_for_a_reader_that_sleeps() {
        let (mut reader, writer) = io::pipe().unwrap();
        let pen = Pen::start(writer).unwrap();
        let line = "x".repeat(1_000);
        let begun = Instant::now();
        for _ in 0..2 * LINES {
            pen.write(line.clone());
        }
        pen.finish();
        assert!(begun.elapsed() < Duration::from_secs(30));
        drop(pen);
        let mut printed = String::new();
        reader.read_to_string(&mut printed).unwrap();
        let kept = printed.lines().filter(|printed| printed.ends_with(&line)).count();
        let told = |line: &str| -> Option<usize> {
            let (head, _) = line.split_once(" lines of this log are lost")?;
            head.rsplit(' ').next()?.parse().ok()
        };
        let lost: usize = printed.lines().filter_map(told).sum();
        assert!(kept >= LINES, "{kept}");
        assert_eq!(kept + lost, 2 * LINES);
    }
}
