//! The load balancer's daemon: joins `lb-core`, `lb-io` and `lb-ctl`, and shows itself in `lbd demo`.
//!
//! [`run`] starts and stops everything; `control` is the loop between, on the one thread that owns the truth;
//! [`report`] turns that truth into the answers of the control API, `questions` and `why` what the workers know of flows, `traces` what they note of frames,
//! [`metrics`] into those of scrapes, with what [`ledger`] keeps; `flow_log` has flows told of that are over;
//! [`addresses`] keeps VIPs and source addresses on interfaces; [`reserved_ports`] keeps the ports of source addresses that are
//! the host's, too, from the host's own connections, by the kernel's `port_settings`. [`doctor`] looks at a host for `lbctl`, whether or not a daemon runs there.

pub mod addresses;
mod audit;
mod bypass;
pub mod changes;
mod control;
pub mod demo;
pub mod doctor;
mod events;
mod flow_log;
pub mod host_sockets;
mod leaving;
pub mod ledger;
mod log;
pub mod metrics;
mod passive;
mod port_settings;
mod questions;
mod reload;
pub mod report;
pub mod reserved_ports;
pub mod run;
pub mod testbed;
mod traces;
mod why;
