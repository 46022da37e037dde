//! Section `flow_log`: where flows are told of when they are over.

use std::{num::NonZeroU32, ops::RangeInclusive, path::PathBuf};

use super::{
    FlowLog,
    walk::{Section, Value},
};

pub(super) fn read(root: &Section<'_>) -> Option<Option<FlowLog>> {
    let Some(section) = root.optional_section("flow_log")? else {
        return Some(None);
    };
    section.allow_only(&["file", "rotate_bytes", "keep", "sample", "queue_records"]);
    let file = section.required("file", FILE_EXPECTED).and_then(|value| file(&value));
    let rotate_bytes = match section.optional("rotate_bytes") {
        Some(value) => value.integer(ROTATE_BYTES),
        None => Some(ROTATE_BYTES_DEFAULT),
    };
    let keep = match section.optional("keep") {
        Some(value) => value.integer(KEEP),
        None => Some(KEEP_DEFAULT),
    };
    let sample = match section.optional("sample") {
        Some(value) => value.integer(SAMPLE).and_then(NonZeroU32::new),
        None => Some(NonZeroU32::MIN),
    };
    let queue_records = match section.optional("queue_records") {
        Some(value) => value.integer(QUEUE_RECORDS),
        None => Some(QUEUE_RECORDS_DEFAULT),
    };
    Some(Some(FlowLog {
        file: file?,
        rotate_bytes: rotate_bytes?,
        keep: keep?,
        sample: sample?,
        queue_records: queue_records?,
    }))
}

fn file(value: &Value<'_>) -> Option<PathBuf> {
    let text = value.text(FILE_EXPECTED)?;
    let is_file = text.starts_with('/') && !text.ends_with('/') && !text.contains('\0');
    if is_file { Some(text.into()) } else { value.refuse(FILE_EXPECTED) }
}

const FILE_EXPECTED: &str = "an absolute path of a file, such as \"/var/log/lbd/flows.json\"";

/// A megabyte holds some two thousand records.
const ROTATE_BYTES: RangeInclusive<i64> = 4_096..=1 << 40;
const ROTATE_BYTES_DEFAULT: u64 = 100 << 20;
const KEEP: RangeInclusive<i64> = 0..=999;
const KEEP_DEFAULT: u32 = 9;
const SAMPLE: RangeInclusive<i64> = 1..=1_000_000;
/// Some 200 bytes each.
const QUEUE_RECORDS: RangeInclusive<i64> = 1..=1 << 20;
const QUEUE_RECORDS_DEFAULT: usize = 1 << 16;
