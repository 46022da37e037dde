//! Prints what was measured.

use std::fmt;

use crate::{
    Measured,
    crew::{Kind, Work},
    machine::{LINE_BYTES, Share},
    traffic::Spread,
};

pub fn headline(cores: u8) {
    println!(
        "{cores} cores. UDP frames of 64 bytes, as many replies as requests. Medians of the rounds (range).\n\
         ns: of a worker per packet forwarded; kernel: the part of it that plays the kernel.\n\
         ratio: packets/s to those of one worker in the same round; net: without playing the kernel."
    );
}

/// Prints what crews did, the first of them one worker, in rounds of which some were disturbed.
pub fn table(name: &str, measured: &[Measured], disturbed: usize) {
    println!(
        "\n{name}\n{:<34} {:>6} {:>10} {:>6} {:>7} {:>12} {:>7}  {:<18} net",
        "workers: how packets come to them",
        "Mpps",
        "per worker",
        "ns",
        "kernel",
        "handed over",
        "lost",
        "ratio"
    );
    let one = &measured[0].rounds;
    for Measured { kind, rounds } in measured {
        let workers = f64::from(kind.workers);
        let ratio = |cost: fn(&Work) -> f64| {
            Range::of(one.iter().zip(rounds).map(|(one, all)| workers * cost(one) / cost(all)))
        };
        let ns = median(rounds, Work::ns);
        println!(
            "{:<34} {:>6.1} {:>10.1} {ns:>6.1} {:>7.1} {:>10.1} % {:>5.2} %  {:<18} {}",
            format!("{}: {}", kind.workers, way(*kind)),
            workers * 1_000.0 / ns,
            1_000.0 / ns,
            ns - median(rounds, Work::net_ns),
            100.0 * median(rounds, Work::handed_over_share),
            100.0 * median(rounds, Work::lost_share),
            ratio(Work::ns).to_string(),
            ratio(Work::net_ns),
        );
    }
    if disturbed > 0 {
        println!("disturbed: {disturbed} of {} rounds, in which something else ran on the cores", one.len());
    }
}

/// Prints what the machine gives one core, and all at once.
pub fn machine(cores: u8, [one, all]: [Share; 2]) {
    let ratio = f64::from(cores) * all.numbers_per_ns / one.numbers_per_ns;
    println!("\nmachine: {cores} cores do {ratio:.2} times the arithmetic of one");
    println!("ns per line of 64 bytes (GB/s of all cores), tables of a size far beyond the caches");
    for (cores, share) in [(1, one), (cores, all)] {
        let figure = |ns: f64, bytes: f64| format!("{ns:.1} ({:.1})", f64::from(cores) * bytes / ns);
        println!(
            "{cores} at once: read at random {}, changed at random {}, read in order {}",
            figure(share.read_ns, LINE_BYTES),
            figure(share.change_ns, 2.0 * LINE_BYTES),
            figure(share.in_order_ns, LINE_BYTES),
        );
    }
}

fn way(kind: Kind) -> &'static str {
    match kind.spread {
        _ if kind.workers == 1 => "one queue",
        Spread::Hashed => "by RSS",
        Spread::RequestsSteered => "requests home, replies by RSS",
        Spread::Steered => "home",
        Spread::Apart => "apart, nothing shared at all",
    }
}

/// Median, and lowest and highest value.
pub struct Range {
    pub median: f64,
    lowest: f64,
    highest: f64,
}

impl Range {
    fn of(values: impl Iterator<Item = f64>) -> Range {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        Range { median: values[values.len() / 2], lowest: values[0], highest: values[values.len() - 1] }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2} - {:.2})", self.median, self.lowest, self.highest)
    }
}

/// The median of a figure over rounds.
pub fn median(rounds: &[Work], figure: fn(&Work) -> f64) -> f64 {
    Range::of(rounds.iter().map(figure)).median
}
