//! README.md as the tests read it: captures of what `lbctl` says, and the tour that a newcomer types.

use std::{fs, path::PathBuf};

use libtest_mimic::Failed;

/// What the README shows of one command.
pub struct Capture {
    /// The command line, such as `lbctl status`.
    pub command: String,
    /// What it says.
    pub shown: String,
}

/// Its text.
pub fn text() -> Result<String, Failed> {
    Ok(fs::read_to_string(path())?)
}

/// Where it is.
pub fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("README.md")
}

/// Its captures, in their order.
pub fn captures(text: &str) -> Result<Vec<Capture>, Failed> {
    let mut captures = Vec::new();
    for part in text.split(BEGIN).skip(1) {
        let (command, rest) = part.split_once(" -->\n").ok_or("a capture without a command")?;
        let (fenced, _) =
            rest.split_once(END).ok_or_else(|| format!("no end of the capture of {command}"))?;
        let shown = fenced.trim_start_matches(FENCE).trim_end_matches(FENCE).to_owned();
        captures.push(Capture { command: command.to_owned(), shown });
    }
    Ok(captures)
}

/// The text with other captures, one for each that it has.
pub fn with_captures(text: &str, shown: &[String]) -> Result<String, Failed> {
    let mut parts = text.split(BEGIN);
    let mut new = parts.next().unwrap_or_default().to_owned();
    for (part, shown) in parts.zip(shown) {
        let (command, rest) = part.split_once(" -->\n").ok_or("a capture without a command")?;
        let (_, rest) = rest.split_once(END).ok_or_else(|| format!("no end of the capture of {command}"))?;
        new += &format!("{BEGIN}{command} -->\n{FENCE}{shown}{FENCE}{END}{rest}");
    }
    Ok(new)
}

/// The commands of the tour, one a line.
pub fn tour(text: &str) -> Result<String, Failed> {
    let (_, rest) = text.split_once(TOUR).ok_or("no tour")?;
    let (tour, _) = rest.split_once("\n```\n").ok_or("no end of the tour")?;
    Ok(tour.to_owned())
}

const BEGIN: &str = "<!-- capture: ";
const END: &str = "<!-- end -->";
const FENCE: &str = "```\n";
const TOUR: &str = "<!-- tour -->\n```sh\n";
