//! The control side of the load balancer: configuration, health checks, the control API and the verbs of `lbctl`.
//!
//! The daemon reads a [`config`], compiles it with health and next hops into `lb_core::tables::Tables`, and serves the API.
//! Nothing here touches packets or the network interfaces; `simulate` runs the pure packet path over a capture.
#![deny(unsafe_code)]

pub mod api;
pub mod capture;
pub mod change;
pub mod cli;
pub mod client;
pub mod compile;
pub mod config;
pub mod doctor;
pub mod elbv2;
pub mod flow_log;
pub mod health;
pub mod hex;
pub mod metrics;
mod near;
pub mod objects;
pub mod packet_head;
pub mod port_set;
pub mod server;
pub mod show;
pub mod simulate;
pub mod state;
pub mod store;
pub mod timestamp;
pub mod top;
