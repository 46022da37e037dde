//! Every run as a line of comma-separated values (RFC 4180).

use crate::record::{Outcome, Record, Run};

/// The whole file: a header, then a line for each figure of each run, or why there is none.
pub fn csv(record: &Record) -> String {
    let lines = record.0.iter().map(line);
    std::iter::once("round,peer,measure,figure,absent\r\n".to_owned()).chain(lines).collect()
}

fn line(run: &Run) -> String {
    let (figure, why) = match &run.outcome {
        Outcome::Figure(figure) => (figure.to_string(), String::new()),
        Outcome::Absent(why) => (String::new(), quoted(why)),
    };
    format!("{},{},{},{figure},{why}\r\n", run.round, run.peer.name(), quoted(run.measure.title()))
}

/// RFC 4180 section 2, rules 5 to 7.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;

    #[test]
    fn every_run_is_a_line() {
        let text = csv(&sample());
        let lines: Vec<_> = text.split("\r\n").collect();
        assert_eq!(lines.len(), sample().0.len() + 2);
        assert_eq!(lines[1], "1,lbd,\"new TCP connections/s\",15000,");
        assert_eq!(lines[8], "3,haproxy,\"new TCP connections/s\",,\"\"\"it\"\" <died>, alas\"");
        assert_eq!(lines[9], "");
    }
}
