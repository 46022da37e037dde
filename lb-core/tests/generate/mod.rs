//! Frames near the edges of what is legal, and everything that it takes to put them through the packet path and to judge what
//! comes out: for the tests `hostile` and `verified`, and for the fuzz targets.
//!
//! ```text
//!   random --> traffic (packet, odd, damage) --> fleet (workers, tables of world) --> events --> inspect
//!                 ^                                                                        |
//!                 +------------------ whoever gets a frame answers it --------------------+
//! ```
#![allow(dead_code, missing_docs)] // Each test binary uses its part.

pub mod damage;
pub mod detour;
pub mod fleet;
pub mod inspect;
pub mod odd;
pub mod packet;
pub mod random;
pub mod traffic;
pub mod world;
