//! `lbd demo --scenario`: walks packets through a Kubernetes cluster behind the load balancer and tells of every link that they
//! cross, to a person who learns by it or as a page of the documentation. All that is told of packets was captured just before.
//!
//! ```text
//!  scenarios: what is tried, and what must hold ---> stage: the cluster, lbd and the taps
//!       |                                              |
//!       v                                              v
//!  page: told on the screen or in Markdown <------- talk, walk: what became of its packets, link by link
//! ```

use std::{process::ExitCode, time::Instant};

use super::{CANNOT_RUN, DemoError, prepare, screen::Screen};
use crate::testbed::{self, cluster::PROGRAMS, program::Program};
use page::{Markdown, Page, title};
use scenarios::{ALL, Findings, Scenario};
use stage::Stage;

mod page;
mod scenarios;
mod stage;
mod talk;
mod walk;

/// How scenarios are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// On the screen, as they are played.
    Screen,
    /// As a page of documentation on standard output, once all are played. Two runs write the same.
    Markdown,
}

/// Plays one scenario by its name, or `all` that can be played here; `list` only lists them. Exit code 0: all that was shown held; 1:
/// something did not; 2: there is no such scenario, or it cannot run here.
pub fn run(name: &str, form: Form) -> ExitCode {
    let scenarios: Vec<&Scenario> =
        ALL.iter().filter(|scenario| name == "all" || scenario.name == name).collect();
    match (name, scenarios.is_empty()) {
        ("list", _) => {
            println!("{}", list());
            ExitCode::SUCCESS
        }
        (_, true) => {
            eprintln!("lbd demo: there is no scenario {name:?}. {}", list());
            CANNOT_RUN.into()
        }
        _ if !testbed::is_privileged() => {
            eprintln!("{NEEDS_ROOT}");
            CANNOT_RUN.into()
        }
        _ => match missing(&scenarios) {
            Some(missing) => {
                eprintln!("lbd demo: {missing}");
                CANNOT_RUN.into()
            }
            None => play(&scenarios, form),
        },
    }
}

/// A program without which none of these scenarios can be played, if that is not here.
fn missing(scenarios: &[&Scenario]) -> Option<Program> {
    let of_all = PROGRAMS.into_iter().find(|program| !program.is_installed());
    of_all.or_else(|| match scenarios {
        [only] => only.missing(),
        _ => None,
    })
}

fn play(scenarios: &[&Scenario], form: Form) -> ExitCode {
    let begun = Instant::now();
    let mut screen = Screen::new();
    let mut page = match form {
        Form::Screen => Page::Screen(&mut screen),
        Form::Markdown => Page::Markdown(Markdown::default()),
    };
    let told = prepare().and_then(|()| tell(scenarios, &mut page));
    match (told, page) {
        (Ok(()), Page::Screen(screen)) if screen.conclude(begun.elapsed()) => ExitCode::SUCCESS,
        (Ok(()), Page::Screen(_)) => ExitCode::FAILURE,
        (Ok(()), Page::Markdown(markdown)) => markdown.print(),
        (Err(error), _) => {
            eprintln!("\nlbd demo: {error}. Everything that the demo made has been removed.");
            if error.is_permission() { CANNOT_RUN.into() } else { ExitCode::FAILURE }
        }
    }
}

fn tell(scenarios: &[&Scenario], page: &mut Page<'_>) -> Result<(), DemoError> {
    page.begin();
    let mut stage = Stage::set_up(page.form())?;
    for scenario in scenarios {
        if let Some(program) = scenario.missing() {
            page.skip(scenario.text, &format!("The scenario {} is not played: {program}.", scenario.name));
            continue;
        }
        let mut findings = Findings::default();
        (scenario.play)(&mut stage, &mut findings)?;
        page.tell(scenario.text, &findings)?;
    }
    page.end();
    stage.stop()
}

fn list() -> String {
    let line = |scenario: &Scenario| format!("\n  {:<16} {}", scenario.name, title(scenario.text));
    let lines: String = ALL.iter().map(line).collect();
    format!("Scenarios, in the order in which `lbd demo --scenario all` plays them:{lines}")
}

const NEEDS_ROOT: &str = "lbd demo: needs root, because it makes network namespaces and attaches an XDP program inside them. \
    Nothing outside of them is touched, and everything is removed at the end.";
