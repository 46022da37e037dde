//! Table, ratios, CSV and chart.

use crate::{
    record::Record,
    records::sample,
    report::{
        chart::chart,
        csv::csv,
        goals::ratios,
        table::{reasons, table},
    },
};

#[test]
fn every_peer_has_its_median_and_its_range() {
    let text = table(&sample());
    assert!(text.contains("HAProxy, TCP mode"), "{text}");
    assert!(text.contains("12,500") && text.contains("10,000..15,000"), "{text}");
    assert!(text.contains("no UDP"), "{text}");
    assert!(!text.contains("nginx"), "{text}");
    assert_eq!(text.lines().count(), 2 * 2 + (2 + 1) + 2 * 2 + 1, "{text}");
}

#[test]
fn long_reasons_stand_below() {
    assert_eq!(reasons(&sample()), "HAProxy, TCP mode: \"it\" <died>, alas\n");
}

#[test]
fn a_ratio_stands_beside_its_goal() {
    let text = ratios(&sample());
    assert!(text.contains("TCP conn. per second: lbd / haproxy"), "{text}");
    assert!(text.contains(">= 1.25   1.75 [1.50 .. 2.00]"), "{text}");
    assert_eq!(text.lines().count(), 2, "{text}");
}

#[test]
fn nothing_to_compare_is_nothing_to_say() {
    assert_eq!(ratios(&Record::default()), "");
}

#[test]
fn every_run_is_a_line() {
    let text = csv(&sample());
    let lines: Vec<_> = text.split("\r\n").collect();
    assert_eq!(lines.len(), sample().0.len() + 2);
    assert_eq!(lines[1], "1,lbd,\"new TCP connections/s\",15000,,0.000");
    assert_eq!(lines[8], "3,haproxy,\"new TCP connections/s\",,\"\"\"it\"\" <died>, alas\",0.000");
    assert_eq!(lines[9], "");
}

/// The names of all elements, checked to be nested and closed, with every attribute quoted and every `<` or `&` escaped.
fn elements(svg: &str) -> Vec<String> {
    let (mut open, mut seen) = (Vec::new(), Vec::new());
    for piece in svg.split('<').skip(1) {
        let (tag, content) = piece.split_once('>').expect("every tag ends");
        let entities = ["&amp;", "&lt;", "&gt;"];
        let unescaped = entities.iter().fold(content.to_owned(), |text, entity| text.replace(entity, ""));
        assert!(!unescaped.contains('&') && !unescaped.contains('>'), "{content}");
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "closed in order");
            continue;
        }
        let name: String = tag.chars().take_while(char::is_ascii_alphabetic).collect();
        seen.push(name.clone());
        if !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?} stay open");
    seen
}

#[test]
fn the_picture_is_well_formed() {
    let svg = chart(&sample(), "a <machine> & its kernel\nsecond line");
    let elements = elements(&svg);
    assert_eq!(elements.first().map(String::as_str), Some("svg"));
    assert_eq!(elements.iter().filter(|name| *name == "svg").count(), 1);
    // The background, and three bars of two measures.
    assert_eq!(elements.iter().filter(|name| *name == "rect").count(), 1 + 3);
    assert!(svg.contains("a &lt;machine&gt; &amp; its kernel"));
}

#[test]
fn without_figures_there_is_only_the_title() {
    assert_eq!(elements(&chart(&Record::default(), "")), ["svg", "rect", "text"]);
}
