//! The Elastic Load Balancing API (version 2015-12-01) of this load balancer, for the stock `aws` command line and the SDKs.
mod fault;
mod form;
mod sigv4;
mod xml;
