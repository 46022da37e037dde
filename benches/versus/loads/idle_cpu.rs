//! How much of the balancer's CPU is used, softirqs and kernel threads included: a thread of the lowest priority reads the clock
//! without end, and whatever takes the CPU from it shows as a gap between two readings. Ticks of the scheduler's own accounting
//! would miss most of it.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use super::{SETTLING, join};
use crate::{system, topology::BALANCER_CPU};

/// The share of the CPU, from 0 to 1, that others use during `time`, after a while to settle.
pub fn used(time: Duration) -> io::Result<f64> {
    thread::scope(|scope| {
        join(scope.spawn(|| {
            system::pin(0, &[BALANCER_CPU])?;
            system::go_last()?;
            thread::sleep(SETTLING);
            Ok(share_of_gaps(time))
        }))
    })
}

fn share_of_gaps(time: Duration) -> f64 {
    let begun = Instant::now();
    let (mut last, mut free) = (begun, Duration::ZERO);
    while last - begun < time {
        let now = Instant::now();
        let passed = now - last;
        if passed < LONGEST_UNDISTURBED {
            free += passed;
        }
        last = now;
    }
    1.0 - free.as_secs_f64() / (last - begun).as_secs_f64()
}

/// Reading the clock takes some 25 ns, the shortest interrupt some 500 ns.
const LONGEST_UNDISTURBED: Duration = Duration::from_nanos(200);
