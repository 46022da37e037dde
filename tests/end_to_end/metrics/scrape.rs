//! The answer to a scrape, read by the reference parser of OpenMetrics: Python's, which is strict.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    process::{Command, Stdio},
};

/// All series of a scrape.
#[derive(Debug)]
pub struct Scrape {
    series: Vec<Series>,
}

#[derive(Debug, serde::Deserialize)]
struct Series {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Scrape {
    /// Reads the text; an error where it is not what OpenMetrics allows.
    pub fn parse(text: &str) -> Result<Scrape, String> {
        let say = |error: std::io::Error| format!("{PYTHON}: {error}");
        let piped = Stdio::piped;
        let mut python = Command::new(PYTHON);
        python.args(["-c", PARSER]).stdin(piped()).stdout(piped()).stderr(piped());
        let mut child = python.spawn().map_err(say)?;
        child.stdin.take().expect("it is piped").write_all(text.as_bytes()).map_err(say)?;
        let output = child.wait_with_output().map_err(say)?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            return Err(format!(
                "{error}(the parser is in Debian's package python3-prometheus-client)\n{text}"
            ));
        }
        let series = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
        Ok(Scrape { series })
    }

    /// The sum of the series of this name that have these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.with(name, labels).map(|series| series.value).sum()
    }

    /// How many series of this name have these labels.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> usize {
        self.with(name, labels).count()
    }

    /// The value of the series of this name and these labels, if there is exactly one.
    pub fn only(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = self.with(name, labels);
        let first = found.next()?.value;
        found.next().is_none().then_some(first)
    }

    /// Names of labels that some series of this name has; `None` where there is no such series.
    pub fn labels(&self, name: &str) -> Option<BTreeSet<&str>> {
        let mut named = self.with(name, &[]).peekable();
        named.peek()?;
        Some(named.flat_map(|series| series.labels.keys().map(String::as_str)).collect())
    }

    /// Every series with its value, but for those that go on by themselves, or by the calls that ask for them.
    pub fn series_without_time(&self) -> Vec<(String, String)> {
        let goes_on = |name: &str| {
            [
                "_seconds_total",
                "_turns_total",
                "_checks_total",
                "_ring_empty_total",
                "_control_connections_total",
            ]
            .iter()
            .any(|end| name.ends_with(end))
        };
        let kept = self.series.iter().filter(|series| !goes_on(&series.name));
        kept.map(|series| (format!("{}{:?}", series.name, series.labels), series.value.to_string())).collect()
    }

    fn with(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = &Series> {
        let has = move |series: &&Series| {
            series.name == name
                && labels
                    .iter()
                    .all(|(key, value)| series.labels.get(*key).is_some_and(|found| found == value))
        };
        self.series.iter().filter(has)
    }
}

/// Debian's own, which has Debian's packages.
const PYTHON: &str = "/usr/bin/python3";

const PARSER: &str = "
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
families = list(parse(sys.stdin.read()))
assert all(family.documentation for family in families), 'a family has no help'
assert all(family.type in ('counter', 'gauge') for family in families), 'a family has no type'
json.dump([dict(name=s.name, labels=s.labels, value=s.value) for f in families for s in f.samples], sys.stdout)
";
