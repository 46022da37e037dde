//! The dashboard in `configs`: every series and every label that its queries name is one that a daemon tells.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use libtest_mimic::Failed;
use serde_json::Value;

use super::{config, exercise, scrape::Scrape, serve};
use crate::harness::{PATIENCE, Rig};

pub fn asks_for_what_there_is() -> Result<(), Failed> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/grafana-dashboard.json");
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(path)?)?;
    let mut queries = Vec::new();
    collect(&dashboard, &mut queries);
    assert!(queries.len() >= 30, "only {} queries", queries.len());
    let mut rig = serve(&config())?;
    exercise(&mut rig)?;
    let scrape = after_first_peak(&rig)?;
    for query in &queries {
        query.check(&scrape).map_err(|error| format!("{error} in {query:?}"))?;
    }
    rig.finish().map(drop)
}

/// A scrape after the first 10 s: some families have a series only then.
fn after_first_peak(rig: &Rig) -> Result<Scrape, Failed> {
    let deadline = Instant::now() + PATIENCE * 2;
    loop {
        let text = rig.control.metrics()?;
        if text.contains("\nlbd_load_balancer_peak_packets_per_second{") {
            return Ok(Scrape::parse(&text)?);
        }
        if Instant::now() > deadline {
            return Err(format!("no peak within {:?}", PATIENCE * 2).into());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A query, and the labels that the legend shows of its answer.
#[derive(Debug)]
struct Query {
    expression: String,
    legend: String,
}

/// Every query of panels and variables.
fn collect(value: &Value, queries: &mut Vec<Query>) {
    let text = |key| value.get(key).and_then(Value::as_str);
    if let Some(expression) = text("expr").or(text("definition")) {
        let legend = text("legendFormat").unwrap_or_default();
        queries.push(Query { expression: expression.into(), legend: legend.into() });
    }
    match value {
        Value::Object(fields) => fields.values().for_each(|value| collect(value, queries)),
        Value::Array(items) => items.iter().for_each(|value| collect(value, queries)),
        _ => {}
    }
}

impl Query {
    fn check(&self, scrape: &Scrape) -> Result<(), String> {
        let mut all: Option<BTreeSet<&str>> = None;
        for (name, matched) in selectors(&self.expression) {
            let mut labels = scrape.labels(name).ok_or_else(|| format!("there is no series {name}"))?;
            labels.extend(OF_PROMETHEUS);
            if let Some(unknown) = matched.iter().find(|label| !labels.contains(*label)) {
                return Err(format!("{name} has no label {unknown}"));
            }
            all = Some(all.map_or(labels.clone(), |all| all.intersection(&labels).copied().collect()));
        }
        let all = all.ok_or("it asks for no series")?;
        let grouped = between(&self.expression, " by (", ")").flat_map(|list| list.split(", "));
        let grouped: BTreeSet<&str> = grouped.collect();
        let shown: BTreeSet<&str> = between(&self.legend, "{{", "}}").collect();
        let kept = if grouped.is_empty() { &all } else { &grouped };
        match (grouped.difference(&all).next(), shown.difference(kept).next()) {
            (None, None) => Ok(()),
            (unknown, lost) => Err(format!("label not there: {unknown:?} {lost:?}")),
        }
    }
}

/// Each series that an expression names, with the labels that it matches by.
fn selectors(expression: &str) -> Vec<(&str, Vec<&str>)> {
    let starts = expression.match_indices("lbd_").map(|(at, _)| &expression[at..]);
    starts
        .map(|rest| {
            let end =
                rest.find(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_').unwrap_or(rest.len());
            let (name, rest) = rest.split_at(end);
            let matchers =
                rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |split| split.0);
            let label = |matcher: &'_ str| matcher.find(['=', '!']).unwrap_or(0);
            let matchers = matchers.split(", ").filter(|matcher| !matcher.is_empty());
            (name, matchers.map(|matcher| &matcher[..label(matcher)]).collect())
        })
        .collect()
}

/// What stands between two marks, each time.
fn between<'t>(text: &'t str, open: &'static str, close: &'static str) -> impl Iterator<Item = &'t str> {
    text.split(open).skip(1).filter_map(move |rest| Some(rest.split_once(close)?.0))
}

/// What Prometheus adds to every series.
const OF_PROMETHEUS: [&str; 2] = ["instance", "job"];
