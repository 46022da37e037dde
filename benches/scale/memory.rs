//! What this machine's memory gives: lines of tables far larger than its caches, at random and in order, by one core and by
//! several at once.

use std::{hint::black_box, sync::Barrier, thread, time::Instant};

use crate::random::Random;

/// Cost of a line for one of so many cores that all do the same, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct LineCosts {
    /// Random lines, read.
    pub read_ns: f64,
    /// Random lines, changed: they are written back, too.
    pub change_ns: f64,
    /// Lines in order, read.
    pub in_order_ns: f64,
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([u64; 8]);

/// Measures with so many cores at once, each with a table of its own of `lines` lines.
pub fn measure(cores: usize, lines: u32) -> LineCosts {
    let start = Barrier::new(cores);
    let costs: Vec<LineCosts> = thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(|| measure_one(lines, &start))).collect();
        threads.into_iter().map(|thread| thread.join().expect("nothing panics")).collect()
    });
    let mean = |cost: fn(&LineCosts) -> f64| costs.iter().map(cost).sum::<f64>() / costs.len() as f64;
    LineCosts {
        read_ns: mean(|costs| costs.read_ns),
        change_ns: mean(|costs| costs.change_ns),
        in_order_ns: mean(|costs| costs.in_order_ns),
    }
}

fn measure_one(lines: u32, start: &Barrier) -> LineCosts {
    let mut table = table(lines);
    let mut random = Random::new(1);
    let mut place = move || (u64::from(random.next()) * u64::from(lines)) >> 32;
    let touched = lines * 2;
    start.wait();
    let in_order_ns = time_per_line(lines, || {
        black_box(table.iter().fold(0, |sum: u64, line| sum.wrapping_add(line.0[0])));
    });
    start.wait();
    let read_ns = time_per_line(touched, || {
        black_box((0..touched).fold(0, |sum: u64, _| sum.wrapping_add(table[place() as usize].0[0])));
    });
    start.wait();
    let change_ns = time_per_line(touched, || (0..touched).for_each(|_| table[place() as usize].0[0] += 1));
    LineCosts { read_ns, change_ns, in_order_ns }
}

fn time_per_line(lines: u32, work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_nanos() as f64 / f64::from(lines)
}

/// A table on huge pages, as flow tables are, with every page in place.
fn table(lines: u32) -> Vec<Line> {
    let mut table: Vec<Line> = Vec::with_capacity(lines as usize);
    let room = table.spare_capacity_mut();
    // The kernel takes whole pages; what lies outside of them stays as it is.
    let begin = room.as_mut_ptr().addr().next_multiple_of(PAGE_BYTES);
    let end = (room.as_mut_ptr().addr() + size_of_val(room)) / PAGE_BYTES * PAGE_BYTES;
    let first_page = room.as_mut_ptr().with_addr(begin);
    // SAFETY: the pages lie in memory that is ours alone, and the advice does not change what is in them.
    unsafe { libc::madvise(first_page.cast(), end.saturating_sub(begin), libc::MADV_HUGEPAGE) };
    table.resize(lines as usize, Line([1; 8]));
    table
}

const PAGE_BYTES: usize = 4_096;
