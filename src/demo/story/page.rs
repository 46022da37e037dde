//! Where scenarios are told: their texts, with what was captured in its places, on the screen or as Markdown.
//!
//! A text is Markdown: a title, paragraphs, and fenced blocks. A line `{{name}}` stands for what was found under that name.

use std::{fmt::Write as _, process::ExitCode};

use super::{
    super::{DemoError, screen::Screen},
    Form,
    scenarios::{Findings, Shown},
    walk::Line,
};

/// Where it is told.
pub(super) enum Page<'a> {
    /// On the screen, at once.
    Screen(&'a mut Screen),
    /// As a page, at the end.
    Markdown(Markdown),
}

/// A page of documentation.
#[derive(Debug, Default)]
pub(super) struct Markdown {
    text: String,
    broken: Vec<String>,
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part<'a> {
    Title(&'a str),
    /// Its lines joined.
    Paragraph(String),
    /// A line as it stands: of a table or a fenced block.
    Verbatim(&'a str),
    /// What was found under this name.
    Place(&'a str),
    /// An empty line between parts.
    Blank,
}

impl Page<'_> {
    /// What kind of page it is.
    pub(super) fn form(&self) -> Form {
        match self {
            Page::Screen(_) => Form::Screen,
            Page::Markdown(_) => Form::Markdown,
        }
    }

    /// What comes before all scenarios.
    pub(super) fn begin(&mut self) {
        match self {
            Page::Screen(screen) => parts(NETWORK).iter().for_each(|part| screen.part(part)),
            Page::Markdown(page) => page.append(&[PREFACE, NETWORK, READING].join("\n")),
        }
    }

    /// A scenario.
    pub(super) fn tell(&mut self, text: &str, findings: &Findings) -> Result<(), DemoError> {
        match self {
            Page::Screen(screen) => screen.scenario(text, findings),
            Page::Markdown(page) => page.scenario(text, findings),
        }
    }

    /// A scenario that cannot be played: on the screen the others go on, but there is no page without it.
    pub(super) fn skip(&mut self, text: &str, why: &str) {
        match self {
            Page::Screen(screen) => {
                screen.heading(title(text));
                screen.explain(why);
            }
            Page::Markdown(page) => page.broken.push(why.to_owned()),
        }
    }

    /// What comes after all scenarios.
    pub(super) fn end(&mut self) {
        if let Page::Markdown(page) = self {
            page.append(&[RETURNING, CONFIGURING].join("\n"));
        }
    }
}

impl Screen {
    fn scenario(&mut self, text: &str, findings: &Findings) -> Result<(), DemoError> {
        for part in parts(text) {
            match part {
                Part::Place(name) => self.shown(findings.shown(name)?),
                part => self.part(&part),
            }
        }
        self.verbatim("");
        findings.claims().for_each(|(holds, what)| self.check(holds, what));
        Ok(())
    }

    fn part(&self, part: &Part<'_>) {
        match part {
            Part::Title(title) => self.heading(title),
            Part::Paragraph(text) => self.explain(text),
            Part::Verbatim(line) => self.verbatim(line),
            Part::Blank => self.verbatim(""),
            Part::Place(_) => {}
        }
    }

    fn shown(&self, shown: &Shown) {
        match shown {
            Shown::Walk(walk) => walk.lines().iter().for_each(|line| match line {
                Line::Hop(text) => self.verbatim(text),
                Line::Macs(text) => self.faint(text),
                Line::Deed(text) => self.strong(text),
            }),
            Shown::Said { command, said } => {
                self.quote(&format!("{command}\n{said}"));
            }
        }
    }
}

impl Markdown {
    fn append(&mut self, text: &str) {
        self.text += text;
        self.text += "\n";
    }

    fn scenario(&mut self, text: &str, findings: &Findings) -> Result<(), DemoError> {
        for line in text.lines() {
            match (place_of(line), line.strip_prefix("# ")) {
                (Some(name), _) => self.shown(findings.shown(name)?),
                (None, Some(title)) => self.append(&format!("## {title}")),
                (None, None) => self.append(line),
            }
        }
        self.append("\nChecked while this was captured:\n");
        for (holds, what) in findings.claims() {
            self.append(&format!("- {what}"));
            if !holds {
                self.broken.push(what.to_owned());
            }
        }
        self.append("");
        Ok(())
    }

    fn shown(&mut self, shown: &Shown) {
        let mut block = String::from("```text\n");
        match shown {
            Shown::Walk(walk) => block.extend(walk.lines().iter().map(|line| match line {
                Line::Hop(text) | Line::Macs(text) | Line::Deed(text) => format!("{text}\n"),
            })),
            Shown::Said { command, said } => {
                write!(block, "{command}\n{}\n", said.trim_end()).expect("a String takes all text");
            }
        }
        self.append(&(block + "```"));
    }

    /// Prints the page, if it is true.
    pub(super) fn print(&self) -> ExitCode {
        if self.broken.is_empty() {
            print!("{}", self.text);
            return ExitCode::SUCCESS;
        }
        eprintln!("lbd demo: there is no page, because of what does not hold:");
        self.broken.iter().for_each(|what| eprintln!("  {what}"));
        ExitCode::FAILURE
    }
}

/// The title of a text.
pub(super) fn title(text: &str) -> &str {
    text.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or_default()
}

fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut is_fenced = false;
    // Whether the last part is a paragraph that goes on.
    let mut is_open = false;
    for line in text.lines() {
        let is_fence = line.starts_with("```");
        is_fenced ^= is_fence;
        let part = match line {
            _ if is_fence => None,
            line if is_fenced || line.starts_with(['|', '-']) => Some(Part::Verbatim(line)),
            line if place_of(line).is_some() => place_of(line).map(Part::Place),
            line if line.starts_with('#') => Some(Part::Title(line.trim_start_matches(['#', ' ']))),
            "" => Some(Part::Blank),
            line => Some(Part::Paragraph(line.to_owned())),
        };
        match (part, parts.last_mut()) {
            (Some(Part::Paragraph(line)), Some(Part::Paragraph(text))) if is_open => {
                text.push(' ');
                text.push_str(&line);
            }
            (part, _) => {
                is_open = matches!(part, Some(Part::Paragraph(_)));
                parts.extend(part);
            }
        }
    }
    parts
}

/// The name in a line `{{name}}`.
fn place_of(line: &str) -> Option<&str> {
    line.trim().strip_prefix("{{")?.strip_suffix("}}")
}

const PREFACE: &str = include_str!("texts/preface.md");
const NETWORK: &str = include_str!("texts/network.md");
const READING: &str = include_str!("texts/reading.md");
const RETURNING: &str = include_str!("texts/returning.md");
const CONFIGURING: &str = include_str!("texts/configuring.md");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_parts() {
        let text = "# Title\n\nOne\ntwo.\n\nThree.\n{{there}}\n```text\n a  b\n\n```\n- item\n";
        let wanted = [
            Part::Title("Title"),
            Part::Blank,
            Part::Paragraph("One two.".into()),
            Part::Blank,
            Part::Paragraph("Three.".into()),
            Part::Place("there"),
            Part::Verbatim(" a  b"),
            Part::Verbatim(""),
            Part::Verbatim("- item"),
        ];
        assert_eq!(parts(text), wanted);
        assert_eq!(title(text), "Title");
    }
}
