//! `lbctl targets`.

use comfy_table::{Cell, Color, Table};

use super::{
    Columns, refused_flows,
    table::{Give, fitted, number, right, table},
    text::{ago, bytes, plural},
};
use crate::api::{InForce, TargetAddress, TargetChanges, TargetRow, Traffic};

/// Targets with their state and why; what is long comes last. Zones have a column where there are any.
pub fn targets(rows: &[TargetRow], columns: Columns) -> String {
    fitted(target_table(rows, columns), columns, GIVE)
}

fn target_table(rows: &[TargetRow], columns: Columns) -> Table {
    let has_zones = rows.iter().any(|row| row.zone.is_some());
    let zone: &[&str] = if has_zones { &["ZONE"] } else { &[] };
    let header = [
        &["GROUP", "TARGET"],
        zone,
        &["STATE", "CHANGED", "PASSED", "FAILED", "FLOWS", "NEW", "SHARE"],
        columns.of_all(&["WEIGHT", "PACKETS IN", "PACKETS OUT", "BYTES IN", "BYTES OUT"]),
        &["REASON"],
    ]
    .concat();
    let mut table = table(&header);
    for row in rows {
        let mut cells = vec![Cell::new(&row.target_group), Cell::new(row.target)];
        cells.extend(has_zones.then(|| Cell::new(row.zone.as_deref().unwrap_or("all"))));
        cells.extend([state(row), right(row.changed_seconds_ago.map_or(String::new(), ago))]);
        let Traffic { active_flows, new_flows, .. } = row.traffic;
        cells.extend([row.checks_passed, row.checks_failed, active_flows, new_flows].map(number));
        cells.push(right(format!("{:.1} %", row.share_percent)));
        if columns == Columns::All {
            let Traffic { packets_in, packets_out, bytes_in, bytes_out, .. } = row.traffic;
            cells.push(right(row.weight.map_or(String::new(), |weight| weight.to_string())));
            cells.extend([packets_in, packets_out].map(number));
            cells.extend([bytes_in, bytes_out].map(|count| right(bytes(count))));
        }
        cells.push(Cell::new(remark(row)));
        table.add_row(cells);
    }
    table
}

/// That targets were registered and deregistered.
pub fn changed(changes: &TargetChanges, in_force: &InForce) -> String {
    let verbs = [("registered", changes.register.len()), ("deregistered", changes.deregister.len())];
    let verbs: Vec<String> = verbs
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(verb, count)| format!("{} {verb}", plural(*count, "target")))
        .collect();
    format!("{}: generation {}\n", verbs.join(", "), in_force.generation)
}

/// That targets were deregistered, and which of them were not registered at all.
pub fn deregistered(targets: &[TargetAddress], absent: &[TargetAddress], in_force: &InForce) -> String {
    let mut text: String = absent.iter().map(|target| format!("{target} was not registered\n")).collect();
    text += &match targets.len() - absent.len() {
        0 => format!("nothing to change: generation {}\n", in_force.generation),
        count => format!("{} deregistered: generation {}\n", plural(count, "target"), in_force.generation),
    };
    text
}

fn state(row: &TargetRow) -> Cell {
    let color = match row.state.as_str() {
        "healthy" => Color::Green,
        "unhealthy" | "unhealthy.draining" => Color::Red,
        "unused" => Color::DarkGrey,
        _ => Color::Yellow,
    };
    Cell::new(&row.state).fg(color)
}

/// Why a target is in its state, and what else is to be known.
fn remark(row: &TargetRow) -> String {
    let mut remarks: Vec<String> = Vec::new();
    remarks.extend(match (&row.reason, &row.description) {
        (Some(reason), Some(description)) => Some(format!("{reason}: {description}")),
        (reason, description) => reason.clone().or(description.clone()),
    });
    if row.is_eligible && row.state != "healthy" {
        remarks.push("gets new flows because its group fails open".into());
    }
    if !row.is_reachable {
        remarks.push("no next hop yet".into());
    }
    if row.bypass.is_some() {
        remarks.push("replies go past the load balancer: `lbctl events` says more".into());
    }
    remarks.extend(refused_flows(&row.traffic));
    remarks.join("; ")
}

const GIVE: Give =
    Give { spared: &["CHANGED", "PASSED", "FAILED", "NEW", "SHARE", "ZONE", "FLOWS"], wrapped: &["REASON"] };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::table::tests::on_terminal;

    fn row(zone: Option<&str>, state: &str) -> TargetRow {
        TargetRow {
            target_group: "web".into(),
            target: "198.19.1.2:8080".parse().unwrap(),
            zone: zone.map(Into::into),
            state: state.into(),
            reason: (state != "healthy").then(|| "Target.Timeout".into()),
            description: (state != "healthy").then(|| "Request timed out".into()),
            changed: Some("2026-11-23T10:43:09Z".into()),
            changed_seconds_ago: Some(12),
            checks_passed: 1_234,
            checks_failed: 5,
            weight: Some(1),
            is_eligible: true,
            share_percent: 100.0 / 3.0,
            is_reachable: true,
            bypass: None,
            traffic: Traffic { active_flows: 17, new_flows: 60_000, ..Traffic::default() },
        }
    }

    #[test]
    fn a_healthy_target_is_a_line_of_less_than_a_hundred_columns() {
        let text = targets(&[row(None, "healthy")], Columns::Usual);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[1].split_whitespace().collect::<Vec<_>>().join(" "),
            "web 198.19.1.2:8080 healthy 12s ago 1,234 5 17 60,000 33.3 %"
        );
        assert!(lines.iter().all(|line| line.chars().count() <= 100), "{text}");
    }

    #[test]
    fn the_reason_comes_last_and_zones_where_there_are_any() {
        let text = targets(&[row(Some("a"), "unhealthy"), row(None, "healthy")], Columns::Usual);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains("ZONE"), "{text}");
        assert!(
            lines[1]
                .ends_with("Target.Timeout: Request timed out; gets new flows because its group fails open"),
            "{text}"
        );
        assert_eq!(lines[2].split_whitespace().nth(2), Some("all"));
    }

    #[test]
    fn narrow_terminals_get_whole_targets_with_their_state_and_reason() {
        let v6 =
            TargetRow { target: "[2001:db8:19:1::2]:8080".parse().unwrap(), ..row(Some("a"), "unhealthy") };
        for room in [60, 80, 200] {
            let text = on_terminal(target_table(std::slice::from_ref(&v6), Columns::Usual), room, GIVE);
            assert!(text.lines().all(|line| line.chars().count() <= usize::from(room)), "{text}");
            let whole = ["[2001:db8:19:1::2]:8080", "unhealthy", "Target.Timeout:"];
            assert!(whole.iter().all(|word| text.contains(word)), "{text}");
            assert_eq!(text.contains("CHANGED"), room == 200);
        }
    }
}
