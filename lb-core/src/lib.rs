//! The load balancer's packet path as a pure function over bytes.
//!
//! Given a burst of frames, the current [`tables::Tables`] and the time, [`datapath::Datapath`] rewrites the frames
//! and says what becomes of each. This crate makes no system call, reads no clock, starts no thread and allocates
//! nothing while it processes packets. Top-down: `datapath` calls `parse`, `flow_table`, `select`, `rewrite`.
#![deny(unsafe_code)]

pub mod counters;
pub mod datapath;
pub mod flow;
pub mod flow_key;
pub mod flow_log;
pub mod flow_table;
pub mod frame;
pub mod hash;
pub mod limits;
pub mod listener;
pub mod maglev;
pub mod parse;
pub mod preamble;
pub mod receive_hash;
pub mod rewrite;
pub mod select;
pub mod steer;
pub mod tables;
pub mod target;
pub mod tcp;
pub mod time;
pub mod verdict;
pub mod wire;
