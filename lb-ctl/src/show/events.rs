//! `lbctl events`.

use super::Columns;
use crate::api::{Event, Happening, InterfaceState};

/// One event in a line; nothing for a sign of life.
pub fn event(event: &Event, columns: Columns) -> String {
    let Some(what) = happening(&event.what) else { return String::new() };
    match columns {
        Columns::Usual => format!("{}  {what}\n", event.at),
        Columns::All => format!("{}  {}  {what}\n", event.seq, event.at),
    }
}

fn happening(what: &Happening) -> Option<String> {
    Some(match what {
        Happening::Change { generation, by, change } => format!("generation {generation}: {change} by {by}"),
        Happening::Health { target_group, target, from, to, description, .. } => {
            let why = description.as_ref().map_or(String::new(), |description| format!(": {description}"));
            format!("target {target_group}/{target}: {from} -> {to}{why}")
        }
        Happening::FailOpen { target_group, is_failing_open: true } => {
            format!(
                "target group {target_group} fails open: all its targets get flows, because too few are healthy"
            )
        }
        Happening::FailOpen { target_group, is_failing_open: false } => {
            format!("target group {target_group} fails open no more")
        }
        Happening::Bypass { target_group, target, bypass: Some(bypass) } => {
            format!("target {target_group}/{target}: {bypass}")
        }
        Happening::Bypass { target_group, target, bypass: None } => {
            format!(
                "target {target_group}/{target}: nothing shows any more that replies go past the load balancer"
            )
        }
        Happening::Reload { generation: Some(generation), by, .. } => {
            format!("generation {generation}: configuration read again by {by}")
        }
        Happening::Reload { generation: None, by, error } => {
            let why = error.as_ref().map_or(String::new(), |error| format!(": {error}"));
            format!("configuration refused, asked for by {by}{why}")
        }
        Happening::Interface { interface, state } => {
            let which = interface.as_ref().map_or("interfaces".into(), |name| format!("interface {name}"));
            let became = match state {
                InterfaceState::Gone => "gone; traffic rests",
                InterfaceState::Rehashed => "packets are spread over queues in another way",
                InterfaceState::Altered => "addresses, MTUs or presence have changed",
            };
            format!("{which}: {became}")
        }
        Happening::FlowLog { error: Some(error) } => {
            format!("flow log: records are lost, for they cannot be written: {error}")
        }
        Happening::FlowLog { error: None } => "flow log: records are written again".into(),
        Happening::Missed { events: Some(events) } => format!("{events} events missed"),
        Happening::Missed { events: None } => "events of an earlier run of lbd missed".into(),
        Happening::Heartbeat => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_lines_with_their_time() {
        let what = Happening::Health {
            target_group: "web".into(),
            target: "198.19.1.2:80".into(),
            from: "healthy".into(),
            to: "unhealthy".into(),
            reason: Some("Target.Timeout".into()),
            description: Some("Request timed out".into()),
        };
        let at = "2026-11-23T10:43:09Z".to_owned();
        let row = Event { seq: 17, at: at.clone(), what };
        let told = "target web/198.19.1.2:80: healthy -> unhealthy: Request timed out\n";
        assert_eq!(event(&row, Columns::Usual), format!("{at}  {told}"));
        assert_eq!(event(&row, Columns::All), format!("17  {at}  {told}"));
        assert_eq!(event(&Event { what: Happening::Heartbeat, ..row }, Columns::All), "");
    }
}
