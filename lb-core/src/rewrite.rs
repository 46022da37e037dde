//! The only writers of bytes. One file per way of forwarding.

pub mod icmp;
pub mod nat;
pub mod reset;
pub mod unreachable;
