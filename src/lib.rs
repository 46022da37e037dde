//! The load balancer's daemon: joins `lb-core`, `lb-io` and `lb-ctl`, and shows itself in `lbd demo`.
//!
//! [`run`] starts and stops everything; [`control`] is the loop between, on the one thread that owns the truth;
//! [`report`] turns that truth into the answers of the control API; [`addresses`] keeps VIPs and source addresses on
//! interfaces; [`reserved_ports`] keeps the ports of source addresses that are the host's, too, from the host's own connections.

pub mod addresses;
mod audit;
pub mod changes;
mod control;
pub mod demo;
mod events;
pub mod host_sockets;
mod log;
mod passive;
pub mod port_set;
mod reload;
pub mod report;
pub mod reserved_ports;
pub mod run;
pub mod testbed;
