//! `lbctl flows`.

use comfy_table::Cell;

use super::{
    Columns,
    table::{Give, fitted, number, right, table},
    text::{count, plural, seconds},
};
use crate::api::FlowList;

/// Some flows; with sources when a target sees another than its client.
pub fn flows(list: &FlowList, columns: Columns) -> String {
    let has_sources = list.flows.iter().any(|row| row.source != row.client);
    let source: &[&str] = if has_sources { &["SOURCE"] } else { &[] };
    let header =
        [&["PROTOCOL", "CLIENT", "LISTENER"], source, &["TARGET", "STATE", "IDLE", "TIMEOUT", "WORKER"]]
            .concat();
    let mut table = table(&header);
    for row in &list.flows {
        let mut cells = vec![Cell::new(&row.protocol), Cell::new(row.client), Cell::new(row.listener)];
        cells.extend(has_sources.then(|| Cell::new(row.source)));
        cells.extend([Cell::new(row.target), Cell::new(&row.state)]);
        cells.extend([row.idle_ms, row.timeout_ms].map(|ms| right(seconds(ms))));
        cells.push(number(row.worker.into()));
        table.add_row(cells);
    }
    let more = match list.is_complete {
        true => String::new(),
        false => {
            format!("\nThere may be more than these {}: --limit lists more", plural(list.flows.len(), "flow"))
        }
    };
    format!("{}{more}{}", fitted(table, columns, GIVE), silence(&list.silent_workers))
}

/// How many there are.
pub fn flow_count(list: &FlowList) -> String {
    let more =
        if list.is_complete { "" } else { "\nThere may be more: not all flows were looked at in time" };
    format!("{}{more}{}", count(list.count), silence(&list.silent_workers))
}

/// Whose flows are missing.
pub(super) fn silence(workers: &[u8]) -> String {
    let line = |worker: &u8| format!("\nWorker {worker} did not answer in time: what it has is not told");
    workers.iter().map(line).collect()
}

const GIVE: Give =
    Give { spared: &["WORKER", "TIMEOUT", "IDLE", "PROTOCOL", "SOURCE", "STATE"], wrapped: &[] };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::FlowRow;

    #[test]
    fn off_a_terminal_rows_are_plain_lines() {
        let row = FlowRow {
            protocol: "TCP".into(),
            client: "198.18.0.9:40000".parse().unwrap(),
            listener: "198.18.100.1:80".parse().unwrap(),
            source: "198.18.0.9:40000".parse().unwrap(),
            target: "198.19.1.2:8080".parse().unwrap(),
            state: "established".into(),
            idle_ms: 1_500,
            timeout_ms: 350_000,
            worker: 3,
        };
        let list = |flows: Vec<FlowRow>| FlowList {
            count: flows.len() as u64,
            flows,
            is_complete: true,
            silent_workers: vec![],
        };
        let text = flows(&list(vec![row.clone()]), Columns::Usual);
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            words[0],
            ["PROTOCOL", "CLIENT", "LISTENER", "TARGET", "STATE", "IDLE", "TIMEOUT", "WORKER"]
        );
        assert_eq!(
            words[1],
            "TCP 198.18.0.9:40000 198.18.100.1:80 198.19.1.2:8080 established 1.5 s 350.0 s 3"
                .split(' ')
                .collect::<Vec<_>>()
        );
        assert_eq!((words.len(), text.contains('\u{1b}')), (2, false));
        let hidden = FlowRow { source: "[2001:db8::1]:1024".parse().unwrap(), ..row.clone() };
        let text = flows(&list(vec![row, hidden]), Columns::Usual);
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[0][1..5], ["CLIENT", "LISTENER", "SOURCE", "TARGET"]);
        assert_eq!((words[1][3], words[2][3]), ("198.18.0.9:40000", "[2001:db8::1]:1024"));
    }

    #[test]
    fn what_is_missing_is_said() {
        let list =
            FlowList { count: 1_234, is_complete: false, silent_workers: vec![2], ..FlowList::default() };
        assert!(flows(&list, Columns::Usual).contains("There may be more"));
        let counted = flow_count(&list);
        assert!(counted.starts_with("1,234\n") && counted.contains("\nWorker 2 did not answer"), "{counted}");
        assert_eq!(flow_count(&FlowList { is_complete: true, silent_workers: vec![], ..list }), "1,234");
    }
}
