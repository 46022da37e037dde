//! The load balancer's daemon: joins `lb-core`, `lb-io` and `lb-ctl`, and shows itself in `lbd demo`.
//!
//! [`run`] starts and stops everything; [`control`] is the loop between, on the one thread that owns the truth;
//! [`report`] turns that truth into the answers of the control API; [`addresses`] keeps VIPs on interfaces.

pub mod addresses;
pub mod control;
pub mod demo;
pub mod report;
pub mod run;
pub mod testbed;
