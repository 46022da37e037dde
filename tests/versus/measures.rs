//! Measures, and the loads that measure them.

use crate::measure::{Flows, Load, Measure};

#[test]
fn every_measure_has_one_load() {
    for measure in Measure::ALL {
        let loads = Load::ALL.iter().filter(|load| load.measures().contains(&measure)).count();
        assert_eq!(loads, 1, "{measure:?}");
        assert!(!measure.title().is_empty() && measure.heading().iter().all(|line| line.len() <= 11));
    }
}

#[test]
fn a_peer_changes_rooms_once() {
    let rooms: Vec<_> = Load::ALL.iter().map(|load| load.room()).collect();
    assert_eq!(rooms.windows(2).filter(|pair| pair[0] != pair[1]).count(), 1);
}

#[test]
fn figures_are_shown_with_as_many_digits_as_mean_something() {
    assert_eq!(Measure::Connections.show(21_345.6), "21,346");
    assert_eq!(Measure::Packets(Flows::One).show(1.64), "1.6");
    assert_eq!(Measure::Packets(Flows::One).show(692.4), "692");
    assert_eq!(Measure::Bulk.show(2.137), "2.14");
    assert_eq!(Measure::LatencyHalf.show(41.0), "41.0");
    assert_eq!(Flows::HundredThousand.count(), 100_000);
    assert_eq!(Measure::Requests.show(1_234_567.0), "1,234,567");
    assert_eq!(Measure::Requests.show(0.0), "0");
}
