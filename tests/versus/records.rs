//! What runs of several rounds say together.

use crate::{
    measure::{Flows, Measure},
    peer::Peer,
    record::{Outcome, Record, Run, Spread},
};

/// Two rounds of two peers, the second of which does no UDP and failed once.
pub fn sample() -> Record {
    let packets = Measure::Packets(Flows::One);
    let run = |round, peer, measure, outcome| Run { round, peer, measure, outcome, others: 0.0 };
    Record(vec![
        run(1, Peer::LBD, Measure::Connections, Outcome::Figure(15_000.0)),
        run(1, Peer::Haproxy, Measure::Connections, Outcome::Figure(10_000.0)),
        run(1, Peer::LBD, packets, Outcome::Figure(700.0)),
        run(1, Peer::Haproxy, packets, Outcome::Absent("no UDP".into())),
        run(2, Peer::LBD, Measure::Connections, Outcome::Figure(30_000.0)),
        run(2, Peer::Haproxy, Measure::Connections, Outcome::Figure(15_000.0)),
        run(3, Peer::LBD, Measure::Connections, Outcome::Figure(90_000.0)),
        run(3, Peer::Haproxy, Measure::Connections, Outcome::Absent("\"it\" <died>, alas".into())),
    ])
}

#[test]
fn the_median_is_in_the_middle() {
    let spread = |median, least, most| Some(Spread { median, least, most });
    assert_eq!(Spread::of(&[]), None);
    assert_eq!(Spread::of(&[3.0]), spread(3.0, 3.0, 3.0));
    assert_eq!(Spread::of(&[5.0, 1.0, 3.0]), spread(3.0, 1.0, 5.0));
    assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 9.0]), spread(3.0, 1.0, 9.0));
}

#[test]
fn ratios_are_taken_within_rounds() {
    let ratio = sample().ratio(Peer::LBD, Peer::Haproxy, Measure::Connections);
    assert_eq!(ratio, Some(Spread { median: 1.75, least: 1.5, most: 2.0 }));
    assert_eq!(sample().ratio(Peer::LBD, Peer::Nginx, Measure::Connections), None);
}

#[test]
fn what_is_missing_says_why() {
    let record = sample();
    assert_eq!(record.peers().collect::<Vec<_>>(), [Peer::Haproxy, Peer::LBD]);
    assert_eq!(record.absence(Peer::Haproxy, Measure::Connections), Some("\"it\" <died>, alas"));
    assert_eq!(record.absence(Peer::LBD, Measure::Connections), None);
    assert_eq!(
        record.spread(Peer::Haproxy, Measure::Connections).map(|spread| spread.median),
        Some(12_500.0)
    );
}
