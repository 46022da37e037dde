//! What this machine gives, without any packet: arithmetic, and lines of tables far larger than its caches, to one core and to
//! all at once.

use std::{
    hint::black_box,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use crate::random::Random;

/// What one of so many cores that all do the same gets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Share {
    /// Random numbers made per nanosecond: no memory is touched.
    pub numbers_per_ns: f64,
    /// Time for a random line that is read, in nanoseconds.
    pub read_ns: f64,
    /// Time for a random line that is changed, so that it is written back, too, in nanoseconds.
    pub change_ns: f64,
    /// Time for a line read in order, in nanoseconds.
    pub in_order_ns: f64,
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([u64; 8]);

/// Measures with so many cores at once, each with a table of its own of `lines` lines.
pub fn measure(cores: usize, lines: u32) -> Share {
    let start = Barrier::new(cores);
    let shares: Vec<Share> = thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(|| measure_one(lines, &start))).collect();
        threads.into_iter().map(|thread| thread.join().expect("nothing panics")).collect()
    });
    let mean = |figure: fn(&Share) -> f64| shares.iter().map(figure).sum::<f64>() / cores as f64;
    Share {
        numbers_per_ns: mean(|share| share.numbers_per_ns),
        read_ns: mean(|share| share.read_ns),
        change_ns: mean(|share| share.change_ns),
        in_order_ns: mean(|share| share.in_order_ns),
    }
}

fn measure_one(lines: u32, start: &Barrier) -> Share {
    let mut table = table(lines);
    let mut random = Random::new(1);
    let mut place = move || (u64::from(random.next()) * u64::from(lines)) >> 32;
    let touched = lines * 2;
    start.wait();
    let numbers_per_ns = numbers_per_ns();
    start.wait();
    let in_order_ns = ns_per_line(lines, || {
        black_box(table.iter().fold(0, |sum: u64, line| sum.wrapping_add(line.0[0])));
    });
    start.wait();
    let read_ns = ns_per_line(touched, || {
        black_box((0..touched).fold(0, |sum: u64, _| sum.wrapping_add(table[place() as usize].0[0])));
    });
    start.wait();
    let change_ns = ns_per_line(touched, || (0..touched).for_each(|_| table[place() as usize].0[0] += 1));
    Share { numbers_per_ns, read_ns, change_ns, in_order_ns }
}

fn numbers_per_ns() -> f64 {
    let mut random = Random::new(1);
    let (began, mut numbers) = (Instant::now(), 0);
    while began.elapsed() < ARITHMETIC {
        black_box((0..NUMBERS).fold(0, |sum: u32, _| sum ^ random.next()));
        numbers += NUMBERS;
    }
    numbers as f64 / began.elapsed().as_nanos() as f64
}

fn ns_per_line(lines: u32, work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_nanos() as f64 / f64::from(lines)
}

/// A table on huge pages, as flow tables are, with every page in place.
fn table(lines: u32) -> Vec<Line> {
    let mut table: Vec<Line> = Vec::with_capacity(lines as usize);
    let room = table.spare_capacity_mut();
    let begin = room.as_mut_ptr().addr().next_multiple_of(PAGE_BYTES);
    let end = (room.as_mut_ptr().addr() + size_of_val(room)) / PAGE_BYTES * PAGE_BYTES;
    let first_page = room.as_mut_ptr().with_addr(begin);
    // SAFETY: the pages lie in memory that is ours alone, and the advice does not change what is in them.
    unsafe { libc::madvise(first_page.cast(), end.saturating_sub(begin), libc::MADV_HUGEPAGE) };
    table.resize(lines as usize, Line([1; 8]));
    table
}

/// Bytes of a cache line.
pub const LINE_BYTES: f64 = 64.0;

const ARITHMETIC: Duration = Duration::from_millis(50);
const NUMBERS: u64 = 100_000;
const PAGE_BYTES: usize = 4_096;
