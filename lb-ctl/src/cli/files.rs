//! `lbctl diff`, `apply`, `export` and `check`: configuration files.

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use hyper::Method;
use serde::Serialize;

use super::{
    Failure,
    lbd::Lbd,
    output::{print, say},
    unusable,
};
use crate::{api::InForce, client::Question, config, objects::Difference, show};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct DiffArguments {
    /// Configuration file; "-": standard input
    file: PathBuf,

    /// Exit with 1 if there are differences
    #[arg(long)]
    exit_code: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct ApplyArguments {
    /// Configuration file; "-": standard input. Its settings of the host (interfaces, workers and the like) are left alone:
    /// these come from the file that lbd was started with
    file: PathBuf,

    /// Only print what would change
    #[arg(long)]
    dry_run: bool,
}

/// What applying a file came to.
#[derive(Serialize)]
struct Applied {
    /// Generation that it is in force in; `None`: it was not applied.
    generation: Option<u64>,
    differences: Vec<Difference>,
}

/// What applying a file would change, and the generation of the objects that this was found with.
struct Differences {
    generation: u64,
    rows: Vec<Difference>,
}

pub(super) fn diff(lbd: &Lbd<'_>, arguments: &DiffArguments) -> Result<(), Failure> {
    let Differences { rows, .. } = differences(lbd, &read(&arguments.file)?)?;
    print(lbd.output, &rows, |rows| show::differences(rows))?;
    match arguments.exit_code && !rows.is_empty() {
        true => Err(Failure::Refused("what is in force differs from the file".into())),
        false => Ok(()),
    }
}

pub(super) fn apply(lbd: &Lbd<'_>, arguments: &ApplyArguments) -> Result<(), Failure> {
    let text = read(&arguments.file)?;
    let Differences { generation: before, rows } = differences(lbd, &text)?;
    let generation = match arguments.dry_run {
        true => None,
        // What is applied is what was shown.
        false => Some(put_in_force(lbd, text, before)?.generation),
    };
    print(lbd.output, &Applied { generation, differences: rows }, |applied| {
        show::applied(&applied.differences, applied.generation)
    })
}

pub(super) fn export(lbd: &Lbd<'_>, file: Option<&Path>) -> Result<(), Failure> {
    let answer = lbd.client.ask(Question::new(Method::GET, "/v1/export"))?;
    let text = String::from_utf8(answer.body.into()).map_err(|error| unusable(&error))?;
    let Some(path) = file else { return say(&text) };
    let written = fs::File::create(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| Failure::Unusable(format!("cannot write {}: {error}", path.display())))
}

pub(super) fn check(file: &Path) -> Result<(), Failure> {
    let config = config::load(file)?;
    say(&format!("{}: valid: {}", file.display(), show::summary(&config)))
}

fn differences(lbd: &Lbd<'_>, text: &str) -> Result<Differences, Failure> {
    // Looked up first: whatever changes after that makes the generation another one.
    let generation = lbd.client.status()?.generation;
    match lbd.if_generation.filter(|expected| *expected != generation) {
        Some(expected) => Err(Failure::Outdated(format!(
            "the objects are of generation {generation}, not of {expected}: look again"
        ))),
        None => {
            let rows = lbd.client.ask(question("/v1/diff", text.into()))?.json()?;
            Ok(Differences { generation, rows })
        }
    }
}

fn put_in_force(lbd: &Lbd<'_>, text: String, generation: u64) -> Result<InForce, Failure> {
    let answer =
        lbd.client.ask(Question { if_generation: Some(generation), ..question("/v1/apply", text) })?;
    Ok(answer.json()?)
}

fn question(path: &str, text: String) -> Question {
    Question {
        content_type: "application/toml",
        body: text.into_bytes(),
        ..Question::new(Method::POST, path)
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let text = match file.to_str() {
        Some("-") => io::stdin().read_to_string(&mut text).map(|_| text),
        _ => fs::read_to_string(file),
    };
    text.map_err(|error| Failure::Unusable(format!("cannot read {}: {error}", file.display())))
}
