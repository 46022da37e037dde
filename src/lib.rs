//! The load balancer's daemon: joins `lb-core`, `lb-io` and `lb-ctl`, and shows itself in `lbd demo`.

pub mod demo;
pub mod testbed;
