//! The parts of the side-by-side bench that only calculate and draw. A bench without harness cannot have tests of its own.

#![allow(dead_code)] // The bench uses the rest.

#[path = "../../benches/versus/measure.rs"]
mod measure;
#[path = "../../benches/versus/peer.rs"]
mod peer;
#[path = "../../benches/versus/record.rs"]
mod record;
#[path = "../../benches/versus/report/mod.rs"]
mod report;

mod measures;
mod peers;
mod records;
mod reports;
