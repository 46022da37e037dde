//! `lbctl diff` and `lbctl apply`.

use crate::objects::{Difference, DifferenceAction};

/// What applying a file would change, one line each.
pub fn differences(rows: &[Difference]) -> String {
    if rows.is_empty() {
        return "nothing to change\n".into();
    }
    rows.iter().map(|row| line(row) + "\n").collect()
}

/// What applying a file has changed, and that it is in force; without a generation, what it would change.
pub fn applied(rows: &[Difference], generation: Option<u64>) -> String {
    let text = differences(rows);
    match generation {
        None => text,
        Some(generation) if rows.is_empty() => format!("nothing to change: generation {generation}\n"),
        Some(generation) => format!("{text}in force: generation {generation}\n"),
    }
}

/// Such as `~ target group web: port: 80 -> 8080`.
fn line(row: &Difference) -> String {
    let (color, sign) = match row.action {
        DifferenceAction::Add => (GREEN, '+'),
        DifferenceAction::Remove => (RED, '-'),
        DifferenceAction::Change => (YELLOW, '~'),
    };
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "default".into());
    let key = row
        .key
        .as_ref()
        .map_or(String::new(), |key| format!(": {key}: {} -> {}", value(&row.from), value(&row.to)));
    format!("{color}{sign} {}{key}{PLAIN}", row.object)
}

const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const PLAIN: &str = "\x1b[39m";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_lines_with_a_sign() {
        let whole = |action, object: &str| Difference {
            action,
            object: object.into(),
            key: None,
            from: None,
            to: None,
        };
        let rows = [
            whole(DifferenceAction::Add, "listener edge/TCP:80"),
            whole(DifferenceAction::Remove, "target web/198.19.1.2:80"),
            Difference {
                key: Some("health_check.path".into()),
                to: Some("/health".into()),
                ..whole(DifferenceAction::Change, "target group web")
            },
        ];
        let text = anstream::adapter::strip_str(&differences(&rows)).to_string();
        let expected = "+ listener edge/TCP:80\n- target web/198.19.1.2:80\n\
                        ~ target group web: health_check.path: default -> /health\n";
        assert_eq!(text, expected);
        assert_eq!(applied(&[], Some(5)), "nothing to change: generation 5\n");
        assert!(applied(&rows, Some(6)).ends_with("in force: generation 6\n"));
        assert_eq!(differences(&[]), "nothing to change\n");
    }
}
