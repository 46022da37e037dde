//! Every run as a line of comma-separated values (RFC 4180).

use crate::record::{Outcome, Record, Run};

/// The whole file: a header, then a line for each figure of each run, or why there is none.
pub fn csv(record: &Record) -> String {
    let lines = record.0.iter().map(line);
    std::iter::once("round,peer,measure,figure,absent,cpus_used_by_others\r\n".to_owned())
        .chain(lines)
        .collect()
}

fn line(run: &Run) -> String {
    let (figure, why) = match &run.outcome {
        Outcome::Figure(figure) => (figure.to_string(), String::new()),
        Outcome::Absent(why) => (String::new(), quoted(why)),
    };
    let (peer, measure) = (run.peer.name(), quoted(run.measure.title()));
    format!("{},{peer},{measure},{figure},{why},{:.3}\r\n", run.round, run.others)
}

/// RFC 4180 section 2, rules 5 to 7.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}
