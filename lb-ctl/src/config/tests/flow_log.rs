//! Section `flow_log`.

use super::*;

fn with(section: &str) -> String {
    format!("{BASE}\n[flow_log]\n{section}\n")
}

#[test]
fn there_is_none_unless_a_file_is_named() {
    assert_eq!(parse(BASE, "f").unwrap().flow_log, None);
    let defaults = FlowLog {
        file: "/var/log/lbd/flows.json".into(),
        rotate_bytes: 100 << 20,
        keep: 9,
        sample: NonZeroU32::MIN,
        queue_records: 65_536,
    };
    let file = "file = \"/var/log/lbd/flows.json\"";
    assert_eq!(parse(&with(file), "f").unwrap().flow_log, Some(defaults.clone()));
    let others = format!("{file}\nrotate_bytes = 4096\nkeep = 0\nsample = 100\nqueue_records = 1");
    let sample = NonZeroU32::new(100).unwrap();
    let expected = FlowLog { rotate_bytes: 4_096, keep: 0, sample, queue_records: 1, ..defaults };
    assert_eq!(parse(&with(&others), "f").unwrap().flow_log, Some(expected));
}

#[test]
fn what_is_no_file_or_out_of_range_is_refused() {
    let line = BASE.lines().count() + 3;
    let expected = "expected an absolute path of a file, such as \"/var/log/lbd/flows.json\"";
    for (text, error) in [
        ("file = \"flows.json\"", format!("{line}: flow_log.file: found \"flows.json\", {expected}")),
        ("file = \"/var/log/\"", format!("{line}: flow_log.file: found \"/var/log/\", {expected}")),
        (
            "file = \"/f\"\nsample = 0",
            format!("{}: flow_log.sample: found 0, expected an integer from 1 to 1000000", line + 1),
        ),
        ("keep = 1", format!("{}: flow_log.file: found nothing, {expected}", line - 1)),
    ] {
        assert_errors(&with(text), &[&error]);
    }
}
