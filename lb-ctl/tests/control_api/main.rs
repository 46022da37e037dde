//! The control API's server among clients that mean it no good: whatever they do, the next honest caller is answered, and soon.
//!
//! `HOSTILE_REQUESTS=1000000` and `HOSTILE_CONNECTIONS=10000` set how many; without them it is a short run.

mod control;
mod events;
mod hostile;
mod mutate;
mod objects;
mod tls;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use control::Control;
use lb_ctl::{client::Client, server::Server};

/// A server with a control thread behind it that answers at once.
pub struct Rig {
    /// The server.
    pub server: Server,
    /// Its socket.
    pub socket: PathBuf,
    _scratch: tempfile::TempDir,
}

impl Rig {
    /// Starts one of its own.
    pub fn start() -> Rig {
        let scratch = tempfile::tempdir().unwrap();
        let socket = scratch.path().join("lbd.sock");
        let control = Control::new();
        let server = Server::start(&socket, move |call| control.answer(call)).unwrap();
        Rig { server, socket, _scratch: scratch }
    }
}

/// An honest caller, who asks for the status over and over and notes how long each answer took.
pub struct Witness {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Witness {
    /// Begins to call.
    pub fn start(socket: &Path) -> Witness {
        let client = Client::new(socket);
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let thread = std::thread::spawn(move || {
            let mut times = Vec::new();
            while times.is_empty() || !over.load(Relaxed) {
                let begun = Instant::now();
                assert_eq!(client.status().expect("an honest caller is answered").generation, 7);
                times.push(begun.elapsed());
                std::thread::sleep(Duration::from_millis(5));
            }
            times
        });
        Witness { is_over, thread }
    }

    /// Prints how long answers took. The bound is for machines that are busy with other things, and shorter than any time that the
    /// server gives a client: what counts is what is printed.
    pub fn finish(self, during: &str) {
        self.is_over.store(true, Relaxed);
        let mut times = self.thread.join().unwrap();
        times.sort_unstable();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
        let (count, median, late, worst) = (times.len(), at(50), at(99), at(100));
        println!(
            "{during}: {count} honest calls answered in {median:.1} ms (median), {late:.1} (99 %), {worst:.1} (worst)"
        );
        assert!(worst < 9_000.0, "{during}: {worst} ms");
    }
}

/// A number from the environment.
pub fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}
