//! Which target to check when. Pure: the time and the jitter come as arguments, connects are somebody else's.
//!
//! Each target has one timer: while it waits, when its next check begins; during a check, when that times out. A check that
//! times out more than an interval too late says nothing about the target, because this process itself stood still
//! (stopped, or its machine was): it is begun again and not counted.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{Check, Machine, Outcome, TargetHealth, TargetKey, Transition};

/// Every checked target.
pub(super) struct Roster {
    slots: HashMap<TargetKey, Slot>,
    timers: BTreeSet<(Instant, TargetKey)>,
    outstanding: HashMap<Ticket, TargetKey>,
    last_ticket: Ticket,
    transitions: Vec<Transition>,
}

/// Names one check of one target; never used twice.
pub(super) type Ticket = usize;

/// What the checker has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Connect, and tell the outcome by [`Roster::finish`].
    Begin(Ticket, SocketAddr),
    /// Forget that connect.
    Abandon(Ticket),
}

struct Slot {
    check: Check,
    machine: Machine,
    timer: Instant,
    /// The check under way, and when it began.
    running: Option<(Ticket, Instant)>,
}

impl Roster {
    pub(super) fn new() -> Roster {
        Roster {
            slots: HashMap::new(),
            timers: BTreeSet::new(),
            outstanding: HashMap::new(),
            last_ticket: 0,
            transitions: Vec::new(),
        }
    }

    /// Checks exactly these from now on. New targets, and those whose check changed, are due at once.
    pub(super) fn set(
        &mut self,
        checks: Vec<Check>,
        restored: &HashMap<TargetKey, TargetHealth>,
        now: Instant,
    ) -> Vec<Work> {
        let mut before = std::mem::take(&mut self.slots);
        self.timers.clear();
        for check in checks {
            let key = check.key.clone();
            let slot = match before.remove(&key) {
                Some(slot) if slot.check == check => slot,
                Some(slot) => {
                    let machine = slot.machine.clone();
                    before.insert(key.clone(), slot); // Its check under way is abandoned below.
                    Slot { check, machine, timer: now, running: None }
                }
                None => {
                    let machine =
                        restored.get(&key).map_or(Machine::new(), |health| Machine::restored(*health));
                    Slot { check, machine, timer: now, running: None }
                }
            };
            self.timers.insert((slot.timer, key.clone()));
            self.slots.insert(key, slot);
        }
        let running = before.into_values().filter_map(|slot| slot.running);
        let abandoned: Vec<Ticket> = running.map(|(ticket, _)| ticket).collect();
        for ticket in &abandoned {
            self.outstanding.remove(ticket);
        }
        abandoned.into_iter().map(Work::Abandon).collect()
    }

    /// Acts on every timer that is over. Outcomes known by `now` must have been told before.
    pub(super) fn turn(&mut self, now: Instant, mut jitter: impl FnMut() -> f64) -> Vec<Work> {
        let mut work = Vec::new();
        while let Some((timer, _)) = self.timers.first()
            && *timer <= now
        {
            let Some((timer, key)) = self.timers.pop_first() else { break };
            let Some(slot) = self.slots.get(&key) else { continue };
            let Some((ticket, _)) = slot.running else {
                work.push(self.begin(&key, now));
                continue;
            };
            work.push(Work::Abandon(ticket));
            if now - timer > slot.check.interval {
                self.outstanding.remove(&ticket);
                work.push(self.begin(&key, now));
            } else {
                self.finish(ticket, Some(Outcome::Timeout), now, jitter());
            }
        }
        work
    }

    /// A check ended; `None` when it could not be made for reasons of our own. Stale tickets are ignored.
    pub(super) fn finish(&mut self, ticket: Ticket, outcome: Option<Outcome>, now: Instant, jitter: f64) {
        let Some(key) = self.outstanding.remove(&ticket) else { return };
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let Some((_, begun)) = slot.running.take() else { return };
        if let Some(outcome) = outcome {
            let from = slot.machine.health();
            slot.machine.apply(outcome, slot.check.thresholds);
            note(&mut self.transitions, &key, from, slot.machine.health());
        }
        let next = (begun + jittered(slot.check.interval, jitter)).max(now);
        self.move_timer(key, next);
    }

    /// The changes of state since the last call.
    pub(super) fn take_transitions(&mut self) -> Vec<Transition> {
        std::mem::take(&mut self.transitions)
    }

    /// When to call [`Roster::turn`] again.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(timer, _)| *timer)
    }

    fn begin(&mut self, key: &TargetKey, now: Instant) -> Work {
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        let slot = self.slots.get_mut(key).expect("only slots that are there have timers");
        let from = slot.machine.health();
        slot.machine.begin();
        note(&mut self.transitions, key, from, slot.machine.health());
        slot.running = Some((ticket, now));
        let (endpoint, timeout) = (slot.check.endpoint, slot.check.timeout);
        self.outstanding.insert(ticket, key.clone());
        self.move_timer(key.clone(), now + timeout);
        Work::Begin(ticket, endpoint)
    }

    fn move_timer(&mut self, key: TargetKey, to: Instant) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let from = std::mem::replace(&mut slot.timer, to);
        let mut row = (from, key);
        self.timers.remove(&row);
        row.0 = to;
        self.timers.insert(row);
    }
}

fn note(transitions: &mut Vec<Transition>, key: &TargetKey, from: TargetHealth, to: TargetHealth) {
    if from != to {
        transitions.push(Transition { key: key.clone(), from, to });
    }
}

/// The interval, by up to 10 % shorter or longer; `jitter` is from 0 to 1.
fn jittered(interval: Duration, jitter: f64) -> Duration {
    interval.mul_f64(0.9 + 0.2 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::{super::Thresholds, *};

    const INTERVAL: Duration = Duration::from_secs(10);
    const TIMEOUT: Duration = Duration::from_secs(3);
    const MIDDLE: f64 = 0.5;

    fn check(port: u16) -> Check {
        let address = "198.19.1.2".parse().unwrap();
        Check {
            key: TargetKey { group: "web".into(), address, port },
            endpoint: SocketAddr::new(address, port),
            interval: INTERVAL,
            timeout: TIMEOUT,
            thresholds: Thresholds { healthy: 2, unhealthy: 2 },
        }
    }

    /// A roster, and a clock that is moved by hand.
    struct Bench {
        roster: Roster,
        now: Instant,
    }

    impl Bench {
        fn new(checks: Vec<Check>) -> Bench {
            let mut bench = Bench { roster: Roster::new(), now: Instant::now() };
            bench.set(checks);
            bench
        }

        fn set(&mut self, checks: Vec<Check>) -> Vec<Work> {
            self.roster.set(checks, &HashMap::new(), self.now)
        }

        fn turn_after(&mut self, seconds: f64) -> Vec<Work> {
            self.now += Duration::from_secs_f64(seconds);
            self.roster.turn(self.now, || MIDDLE)
        }

        fn finish(&mut self, ticket: Ticket, outcome: Outcome) {
            self.roster.finish(ticket, Some(outcome), self.now, MIDDLE);
        }

        fn states(&mut self) -> Vec<TargetHealth> {
            self.roster.take_transitions().into_iter().map(|transition| transition.to).collect()
        }
    }

    fn begin(ticket: Ticket) -> Work {
        Work::Begin(ticket, check(80).endpoint)
    }

    #[test]
    fn the_first_check_is_due_at_once_and_the_next_an_interval_later() {
        let mut bench = Bench::new(vec![check(80)]);
        assert_eq!(bench.turn_after(0.0), [begin(1)]);
        bench.now += Duration::from_secs(1);
        bench.finish(1, Outcome::Success);
        assert_eq!(bench.states(), [TargetHealth::InitialHealthChecking, TargetHealth::Healthy]);
        assert_eq!(bench.turn_after(8.9), []);
        assert_eq!(bench.turn_after(0.1), [begin(2)]);
    }

    #[test]
    fn a_check_without_answer_times_out() {
        let mut bench = Bench::new(vec![check(80)]);
        bench.turn_after(0.0);
        assert_eq!(bench.turn_after(3.0), [Work::Abandon(1)]);
        assert_eq!(bench.turn_after(7.0), [begin(2)]);
        assert_eq!(bench.turn_after(3.0), [Work::Abandon(2)]);
        assert_eq!(bench.states(), [TargetHealth::InitialHealthChecking, TargetHealth::Timeout]);
        bench.finish(2, Outcome::Success);
        assert_eq!(bench.states(), [], "a stale ticket says nothing");
    }

    #[test]
    fn a_process_that_stood_still_counts_nothing() {
        let mut bench = Bench::new(vec![check(80)]);
        bench.turn_after(0.0);
        bench.finish(1, Outcome::Success);
        bench.states();
        for round in 0..5 {
            assert_eq!(bench.turn_after(10.0).len(), 1);
            let ticket = 2 + 2 * round;
            // Timeout at 3 s, seen at 14 s: more than an interval late.
            assert_eq!(bench.turn_after(14.0), [Work::Abandon(ticket), begin(ticket + 1)]);
            bench.finish(ticket + 1, Outcome::Success);
        }
        assert_eq!(bench.states(), []);
    }

    #[test]
    fn an_outcome_of_our_own_making_counts_nothing() {
        let mut bench = Bench::new(vec![check(80)]);
        bench.turn_after(0.0);
        for ticket in 1..5 {
            bench.roster.finish(ticket, None, bench.now, MIDDLE);
            assert_eq!(bench.turn_after(10.0), [begin(ticket + 1)]);
        }
        assert_eq!(bench.states(), [TargetHealth::InitialHealthChecking]);
    }

    #[test]
    fn jitter_is_a_tenth_at_most() {
        for (jitter, ms) in [(0.0, 9_000), (0.5, 10_000), (1.0, 11_000), (7.0, 11_000)] {
            assert_eq!(jittered(INTERVAL, jitter), Duration::from_millis(ms));
        }
    }

    #[test]
    fn a_new_set_keeps_what_stays_and_abandons_what_goes() {
        let mut bench = Bench::new(vec![check(80), check(81), check(82)]);
        assert_eq!(bench.turn_after(0.0).len(), 3);
        let ticket_of = |bench: &Bench, port: u16| bench.roster.slots[&check(port).key].running.unwrap().0;
        let [kept, changed, gone] = [80, 81, 82].map(|port| ticket_of(&bench, port));
        let slower = Check { interval: 2 * INTERVAL, ..check(81) };
        let mut work = bench.set(vec![check(80), slower]);
        work.sort_by_key(|work| format!("{work:?}"));
        let mut expected = vec![Work::Abandon(changed), Work::Abandon(gone)];
        expected.sort_by_key(|work| format!("{work:?}"));
        assert_eq!(work, expected);
        assert_eq!(bench.turn_after(0.0).len(), 1, "the changed check begins again at once");
        bench.states();
        bench.finish(kept, Outcome::Success);
        assert_eq!(bench.states(), [TargetHealth::Healthy]);
    }

    #[test]
    fn a_restored_state_lasts_until_the_thresholds_speak() {
        let mut bench = Bench { roster: Roster::new(), now: Instant::now() };
        let restored = HashMap::from([(check(80).key, TargetHealth::Healthy)]);
        bench.roster.set(vec![check(80)], &restored, bench.now);
        bench.turn_after(0.0);
        bench.finish(1, Outcome::Failure);
        assert_eq!(bench.states(), []);
        bench.turn_after(10.0);
        bench.finish(2, Outcome::Failure);
        assert_eq!(bench.states(), [TargetHealth::FailedHealthChecks]);
    }
}
