//! `lbctl doctor`.

use comfy_table::{Cell, Color, ContentArrangement, Table, presets};

use super::text::plural;
use crate::doctor::{Finding, Report, Severity};

/// All findings: those of the host and the configuration, then those of each interface.
pub fn doctor(report: &Report) -> String {
    let of = |name: Option<&str>| -> Vec<&Finding> {
        report.findings.iter().filter(|finding| finding.interface.as_deref() == name).collect()
    };
    let mut text = section("Host", &of(None));
    let mut shown: Vec<&str> = Vec::new();
    for name in report.findings.iter().filter_map(|finding| finding.interface.as_deref()) {
        if !shown.contains(&name) {
            shown.push(name);
            text += &format!("\n{}", section(&format!("Interface {name}"), &of(Some(name))));
        }
    }
    text + &format!("\n{}\n", tally(report))
}

/// How many findings there are of each severity, such as `1 fault, 2 notes, 20 ok`.
fn tally(report: &Report) -> String {
    let count = |severity: &Severity| match (report.count(*severity), severity) {
        (0, _) => None,
        (number, Severity::Ok) => Some(format!("{number} ok")),
        (number, severity) => Some(plural(number, severity.name())),
    };
    Severity::ALL.iter().rev().filter_map(count).collect::<Vec<_>>().join(", ")
}

fn section(title: &str, findings: &[&Finding]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    for finding in findings {
        let severity = Cell::new(finding.severity.name()).fg(color(finding.severity));
        table.add_row([severity, Cell::new(finding.topic), Cell::new(words(finding))]);
    }
    format!("{title}\n{}\n", table.trim_fmt())
}

/// What is, why it matters, and what to type, each from a new line on.
fn words(finding: &Finding) -> String {
    let why = (!finding.why.is_empty()).then(|| finding.why.clone());
    let cure = finding.cure.iter().map(|line| format!("> {line}"));
    [finding.found.clone()].into_iter().chain(why).chain(cure).collect::<Vec<_>>().join("\n")
}

fn color(severity: Severity) -> Color {
    match severity {
        Severity::Ok => Color::Green,
        Severity::Note => Color::Cyan,
        Severity::Warning => Color::Yellow,
        Severity::Fault => Color::Red,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_why_and_what_to_type_stand_below_each_other() {
        let finding = |severity, interface: Option<&str>, why: &str, cure: &[&str]| Finding {
            severity,
            interface: interface.map(Into::into),
            topic: "mtu",
            found: "9001".into(),
            why: why.into(),
            cure: cure.iter().map(|line| line.to_string()).collect(),
        };
        let findings = vec![
            finding(Severity::Ok, None, "", &[]),
            finding(Severity::Warning, Some("eth0"), "too long", &["ip link set eth0 mtu 1500"]),
            finding(Severity::Warning, Some("eth1"), "too long", &[]),
        ];
        let text = doctor(&Report { worst: Severity::Warning, findings });
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[0], ["Host"]);
        assert_eq!(words[1], ["ok", "mtu", "9001"]);
        assert_eq!(words[3], ["Interface", "eth0"]);
        assert_eq!(words[4], ["warning", "mtu", "9001"]);
        assert_eq!(words[5], ["too", "long"]);
        assert_eq!(words[6], [">", "ip", "link", "set", "eth0", "mtu", "1500"]);
        assert_eq!(words[8], ["Interface", "eth1"]);
        assert!(text.ends_with("\n2 warnings, 1 ok\n"), "{text}");
        assert!(!text.contains('\u{1b}'), "no colours off a terminal");
    }
}
