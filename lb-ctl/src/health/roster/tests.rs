//! Time moved by hand.

use super::{super::Thresholds, *};
use crate::health::UdpProbe;

const INTERVAL: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(3);

fn check(port: u16) -> Check {
    let address = "198.19.1.2".parse().unwrap();
    Check {
        key: TargetKey { group: "web".into(), address, port },
        endpoint: SocketAddr::new(address, port),
        opening: Opening::Plain,
        probe: Arc::new(Probe::Tcp),
        interval: INTERVAL,
        timeout: TIMEOUT,
        thresholds: Thresholds { healthy: 2, unhealthy: 2 },
        draining_interval: Duration::ZERO,
    }
}

/// A roster, and a clock that is moved by hand. Jitter takes nothing off, so that the moments are round.
struct Bench {
    roster: Roster,
    start: Instant,
    now: Instant,
}

impl Bench {
    fn new(checks: Vec<Check>) -> Bench {
        Bench::with_jitter(checks, || 1.0)
    }

    fn with_jitter(checks: Vec<Check>, jitter: fn() -> f64) -> Bench {
        let now = Instant::now();
        let mut bench = Bench { roster: Roster::new(now, jitter), start: now, now };
        bench.set(checks);
        bench
    }

    fn set(&mut self, checks: Vec<Check>) -> Vec<Work> {
        self.roster.set(checks, &HashMap::new(), self.now)
    }

    /// Sleeps as the thread does, punctually, until so many seconds after the start; gives back the work until then.
    fn run_until(&mut self, seconds: f64) -> Vec<Work> {
        let end = self.start + Duration::from_secs_f64(seconds);
        let mut work = self.due();
        while let Some(wake) = self.roster.sleep().filter(|wake| *wake < end) {
            self.now = wake.max(self.now);
            work.extend(self.roster.wake(self.now));
            work.extend(self.due());
        }
        self.now = end;
        work.extend(self.roster.wake(end));
        work.extend(self.due());
        work
    }

    /// Is away until so many seconds after the start.
    fn stop_until(&mut self, seconds: f64) -> Vec<Work> {
        self.roster.sleep();
        self.now = self.start + Duration::from_secs_f64(seconds);
        let mut work = self.roster.wake(self.now);
        work.extend(self.due());
        work
    }

    fn due(&mut self) -> Vec<Work> {
        std::iter::from_fn(|| self.roster.next(self.now)).collect()
    }

    fn finish(&mut self, ticket: usize, outcome: Result<(), Cause>) {
        self.roster.finish(Ticket(ticket), outcome, self.now);
    }

    fn states(&mut self) -> Vec<TargetHealth> {
        let changed = |news| match news {
            News::Changed(transition) => Some(transition.to),
            News::Checked { .. } => None,
        };
        self.roster.take_news().into_iter().filter_map(changed).collect()
    }
}

fn begin(ticket: usize) -> Work {
    let Check { endpoint, opening, probe, .. } = check(80);
    Work::Begin { ticket: Ticket(ticket), endpoint, opening, probe }
}

fn abandon(ticket: usize) -> Work {
    Work::Abandon(Ticket(ticket))
}

const TIMED_OUT: TargetHealth = TargetHealth::Unhealthy(Cause::Timeout);

#[test]
fn the_first_check_is_due_at_once_and_the_next_an_interval_later() {
    let mut bench = Bench::new(vec![check(80)]);
    assert_eq!(bench.run_until(0.0), [begin(1)]);
    bench.run_until(1.0);
    bench.finish(1, Ok(()));
    assert_eq!(bench.states(), [TargetHealth::InitialHealthChecking, TargetHealth::Healthy]);
    assert_eq!(bench.run_until(9.9), []);
    assert_eq!(bench.run_until(10.0), [begin(2)]);
}

#[test]
fn jitter_scatters_the_second_check_and_shortens_later_ones_by_a_twentieth() {
    let mut bench = Bench::with_jitter(vec![check(80)], || 0.0);
    assert_eq!(bench.run_until(0.0), [begin(1)]);
    for (ticket, seconds) in [(2, 5.0), (3, 14.5), (4, 24.0)] {
        bench.finish(ticket - 1, Ok(()));
        assert_eq!(bench.run_until(seconds - 0.1), []);
        assert_eq!(bench.run_until(seconds), [begin(ticket)]);
    }
}

#[test]
fn checks_that_come_together_begin_apart() {
    let mut bench = Bench::new((1..=1_000).map(check).collect());
    assert_eq!(bench.run_until(0.049_95).len(), 500);
    assert_eq!(bench.run_until(0.1).len(), 500);
    assert_eq!(bench.roster.statistics().worst_lateness, Duration::ZERO);
}

#[test]
fn a_check_without_answer_times_out() {
    let mut bench = Bench::new(vec![check(80)]);
    assert_eq!(bench.run_until(9.9), [begin(1), abandon(1)]);
    assert_eq!(bench.run_until(13.0), [begin(2), abandon(2)]);
    assert_eq!(bench.states(), [TargetHealth::InitialHealthChecking, TIMED_OUT]);
    bench.finish(2, Ok(()));
    assert_eq!(bench.states(), [], "a stale ticket says nothing");
}

#[test]
fn a_datagram_that_nobody_refuses_was_taken() {
    let probe = Arc::new(Probe::Udp(UdpProbe { send: b"ping".to_vec(), expect: None }));
    let mut bench = Bench::new(vec![Check { probe, ..check(80) }]);
    assert_eq!(bench.run_until(2.9).len(), 1);
    assert_eq!(bench.run_until(3.0), [abandon(1)], "by the end of its timeout");
    assert_eq!(bench.states(), [TargetHealth::InitialHealthChecking, TargetHealth::Healthy]);
}

#[test]
fn checks_under_way_are_begun_again_after_a_long_absence() {
    let mut bench = Bench::new(vec![check(80)]);
    assert_eq!(bench.run_until(1.0), [begin(1)]);
    for round in 0..5 {
        let ticket = round + 1;
        assert_eq!(bench.stop_until(60.0 * (round + 1) as f64), [abandon(ticket), begin(ticket + 1)]);
    }
    assert_eq!(bench.states(), [TargetHealth::InitialHealthChecking]);
    assert_eq!(bench.roster.statistics().repeated, 5);
    bench.finish(6, Ok(()));
    assert_eq!(bench.states(), [TargetHealth::Healthy]);
}

#[test]
fn a_short_absence_does_not_count() {
    let mut bench = Bench::new(vec![check(80)]);
    bench.run_until(2.5);
    assert_eq!(bench.stop_until(3.5), [], "half a second was left");
    assert_eq!(bench.run_until(3.9), []);
    assert_eq!(bench.run_until(4.0), [abandon(1)]);
}

#[test]
fn an_absence_between_checks_delays_the_next_one_only() {
    let mut bench = Bench::new(vec![check(80)]);
    bench.run_until(1.0);
    bench.finish(1, Ok(()));
    assert_eq!(bench.stop_until(100.0), [begin(2)]);
    assert_eq!(bench.roster.statistics().worst_lateness, Duration::from_secs(90));
    assert_eq!(bench.run_until(103.0), [abandon(2)], "its timeout is its own");
}

#[test]
fn a_hastened_check_comes_now_but_not_twice_a_second() {
    let mut bench = Bench::new(vec![check(80)]);
    let key = [check(80).key];
    bench.run_until(0.0);
    bench.roster.hasten(&key, bench.now);
    bench.finish(1, Ok(()));
    bench.run_until(4.0);
    bench.roster.hasten(&key, bench.now);
    assert_eq!(bench.run_until(4.0), [begin(2)]);
    bench.finish(2, Ok(()));
    bench.roster.hasten(&key, bench.now);
    assert_eq!(bench.run_until(4.9), []);
    assert_eq!(bench.run_until(5.0), [begin(3)]);
    bench.finish(3, Ok(()));
    assert_eq!(bench.run_until(14.9), []);
    assert_eq!(bench.run_until(15.0), [begin(4)]);
    assert_eq!(bench.states(), [TargetHealth::InitialHealthChecking, TargetHealth::Healthy]);
}

#[test]
fn draining_ends_on_time() {
    let draining_interval = Duration::from_secs(60);
    let mut bench = Bench::new(vec![Check { draining_interval, ..check(80) }]);
    bench.run_until(0.0);
    bench.finish(1, Ok(()));
    bench.run_until(22.9);
    bench.states();
    bench.run_until(23.0);
    assert_eq!(bench.states(), [TargetHealth::UnhealthyDraining(Cause::Timeout)]);
    bench.run_until(82.9);
    assert_eq!(bench.states(), []);
    bench.run_until(83.0);
    assert_eq!(bench.states(), [TIMED_OUT]);
}

#[test]
fn a_new_set_keeps_what_stays_and_abandons_what_goes() {
    let mut bench = Bench::new(vec![check(80), check(81), check(82)]);
    assert_eq!(bench.run_until(0.1).len(), 3);
    let ticket_of = |bench: &Bench, port: u16| bench.roster.slots[&check(port).key].running.unwrap().0;
    let [kept, changed, gone] = [80, 81, 82].map(|port| ticket_of(&bench, port));
    let slower = Check { interval: 2 * INTERVAL, ..check(81) };
    assert_eq!(bench.set(vec![check(80), slower]), [abandon(changed), abandon(gone)]);
    assert_eq!(bench.run_until(0.1).len(), 1, "the changed check begins again at once");
    bench.states();
    bench.finish(kept, Ok(()));
    assert_eq!(bench.states(), [TargetHealth::Healthy]);
    bench.set(vec![]);
    assert_eq!(bench.run_until(100.0), [], "no timer is left");
    assert_eq!(bench.roster.sleep(), None);
}

#[test]
fn a_restored_state_lasts_until_the_thresholds_speak() {
    let mut bench = Bench::new(vec![]);
    let restored = HashMap::from([(check(80).key, TargetHealth::Healthy)]);
    bench.roster.set(vec![check(80)], &restored, bench.now);
    bench.run_until(0.0);
    bench.finish(1, Err(Cause::Refused));
    assert_eq!(bench.states(), []);
    bench.run_until(10.0);
    bench.finish(2, Err(Cause::Refused));
    assert_eq!(bench.states(), [TargetHealth::Unhealthy(Cause::Refused)]);
}
