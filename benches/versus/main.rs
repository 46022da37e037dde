//! `./ci.sh versus`: lbd beside what people run today, in one network of namespaces, under the same loads, by turns.
//!
//! ```text
//!  main --> rounds --> peers (who balances) --> topology (where)
//!             |   \--> loads (what is sent and counted) --> udp_programs, system
//!             v
//!           record --> report (table, ratios beside goals, CSV, chart)
//! ```
//!
//! Every load is a thread of this program inside a namespace; every peer is rules in a namespace's kernel or a process. `peer`,
//! `measure`, `record` and `report` only calculate; tests/versus.rs has their tests. Run by `cargo test`, it only shows that it works.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use lbd::testbed;
use topology::Failure;

mod loads;
mod machine;
mod measure;
mod others;
mod peer;
mod peers;
mod record;
mod report;
mod rounds;
mod smoke;
mod system;
mod topology;
mod udp_programs;

/// Measure lbd side by side with other load balancers (needs root)
#[derive(Parser)]
struct Arguments {
    /// How often every peer is measured, by turns
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: u32,
    /// Seconds that every load is counted
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    seconds: f64,
    /// Measure these peers only
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_parser = peer_named)]
    only: Vec<peer::Peer>,
    /// The lbd to measure, where it is not the one built with this bench
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_lbd"))]
    lbd: PathBuf,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    if !std::env::args().any(|argument| argument == "--bench") {
        return smoke::test();
    }
    let arguments = Arguments::parse();
    match prepare().and_then(|()| measure(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("versus: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Everything on two CPUs and before other programs; whatever ends this one, nothing of it stays.
fn prepare() -> Result<(), Failure> {
    if !testbed::is_privileged() {
        return Err("network namespaces, BPF and AF_XDP need root".into());
    }
    testbed::cleanup::sweep();
    // Threads and processes that are started from now on inherit it.
    system::pin(0, &topology::CPUS)?;
    system::go_first(0)?;
    testbed::cleanup::on_signals()?;
    testbed::raise_file_limit()?;
    Ok(())
}

fn measure(arguments: &Arguments) -> Result<(), Failure> {
    let begun = Instant::now();
    let all = arguments.only.is_empty();
    let peers: Vec<_> =
        peer::Peer::ALL.into_iter().filter(|peer| all || arguments.only.contains(peer)).collect();
    let machine = machine::describe(&peers);
    let plan = rounds::Plan {
        peers,
        loads: measure::Load::ALL.to_vec(),
        rounds: arguments.rounds,
        attempts: ATTEMPTS,
        time: Duration::try_from_secs_f64(arguments.seconds)?,
        lbd: arguments.lbd.clone(),
    };
    let record = rounds::run(&plan);
    println!("{machine}\n{METHOD}");
    println!(
        "{} rounds of {} s a load, in {} s. Medians, and the least and most of all rounds:\n",
        plan.rounds,
        arguments.seconds,
        begun.elapsed().as_secs()
    );
    println!("{}", report::table::table(&record));
    for (heading, text) in [
        ("What is missing:", report::table::reasons(&record)),
        ("Ratios within each round, median [least .. most]:", report::goals::ratios(&record)),
    ] {
        if !text.is_empty() {
            println!("{heading}\n\n{text}");
        }
    }
    write_files(&record, &machine)?;
    Ok(())
}

fn write_files(record: &record::Record, machine: &str) -> io::Result<()> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("versus");
    fs::create_dir_all(&directory)?;
    for (name, text) in [
        ("versus.csv", report::csv::csv(record)),
        ("versus.svg", report::chart::chart(record, &format!("{machine}{CAPTION}"))),
    ] {
        let path = directory.join(name);
        fs::write(&path, text)?;
        println!("{}", path.display());
    }
    Ok(())
}

fn peer_named(name: &str) -> Result<peer::Peer, String> {
    let names = || peer::Peer::ALL.map(peer::Peer::name).join(", ");
    peer::Peer::named(name).ok_or_else(|| format!("one of: {}", names()))
}

/// Of a load that is disturbed each time.
const ATTEMPTS: u32 = 3;
/// What the figures mean, above the table.
const METHOD: &str = "
What this shows: veth has no zero-copy mode, so every AF_XDP figure, lbd's and testpmd's, is mostly the kernel's copy path (one socket
buffer per packet sent). A native XDP program turns segmentation offload off, so all links carry frames as a wire would, without checksum
or segmentation offload, for everyone; one row more has the kernel's Gbit/s with them, which no AF_XDP program reaches on veth.
Four targets behind one link, one server thread for all of them; testpmd forwards unseen to the first.
UDP, CPU time and latency: senders (and for latency the targets) on CPU 0, the balancer on CPU 1. The kernel's peers forward on CPU 1 in a
thread of the link's; for lbd and testpmd alike veth's receive half runs at the sender and one thread polls on CPU 1. In latency, the
kernel's peers run where the sender does. Connections, requests, bulk: everybody on both CPUs; lbd's and testpmd's thread stays on CPU 1.
A difference of less than 10 % (packets, p50) or 15 % (connections, bulk) is a tie; p99 and p99.9 are mostly the machine's own noise.
";
/// The same in short, below the chart's title.
const CAPTION: &str = "Medians, with the range of all rounds. On veth this is mostly the kernel's copy path. \
    Checksum and segmentation offload are off, but where it says otherwise.";
