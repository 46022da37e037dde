//! Which target to check when. Pure: the time and the jitter come from outside, probes are somebody else's.
//!
//! A new target is checked at once, and again half to one interval later, at random, so that targets that came together
//! do not stay together; from then on jitter shortens an interval by up to 5 %. No interval is ever longer, so a target that
//! fails is found out within (threshold x interval + timeout). A slot either waits in `begins`, or its check is under way and
//! times out in `expiries`, which counts the time that this process attended to it (see `absence`).

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Cause, Check, Opening, Probe, Statistics, TargetHealth, TargetKey, Transition,
    absence::{Absence, Awakening},
    board::News,
    machine::{Machine, Rules},
};

/// Every checked target.
pub(super) struct Roster {
    slots: HashMap<TargetKey, Slot>,
    begins: BTreeSet<(Instant, TargetKey)>,
    expiries: BTreeSet<(Instant, TargetKey)>,
    drains: BTreeSet<(Instant, TargetKey)>,
    outstanding: HashMap<Ticket, TargetKey>,
    last_ticket: Ticket,
    absence: Absence,
    /// From 0 to 1, at random.
    jitter: fn() -> f64,
    news: Vec<News>,
    statistics: Statistics,
}

/// Names one check of one target; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ticket(pub(super) usize);

/// What the checker has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Begin a check, and tell its outcome by [`Roster::finish`].
    Begin { ticket: Ticket, endpoint: SocketAddr, opening: Opening, probe: Arc<Probe> },
    /// Forget that check.
    Abandon(Ticket),
}

struct Slot {
    check: Check,
    machine: Machine,
    /// Where the slot stands in `begins`, or in `expiries` while its check is under way.
    timer: Instant,
    running: Option<Ticket>,
    /// When its latest check began.
    begun: Option<Instant>,
    pace: Pace,
}

/// What follows a check.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// It was out of turn: the next one follows at a random moment of the second half of the interval.
    Scattered,
    /// The next one follows after the interval.
    Steady,
}

impl Roster {
    pub(super) fn new(now: Instant, jitter: fn() -> f64) -> Roster {
        Roster {
            slots: HashMap::new(),
            begins: BTreeSet::new(),
            expiries: BTreeSet::new(),
            drains: BTreeSet::new(),
            outstanding: HashMap::new(),
            last_ticket: Ticket(0),
            absence: Absence::new(now),
            jitter,
            news: Vec::new(),
            statistics: Statistics::default(),
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
        let mut abandoned = Vec::new();
        let mut due = Spread::from(now);
        for check in checks {
            let slot = match before.remove(&check.key) {
                Some(slot) if slot.check == check => slot,
                Some(slot) => {
                    abandoned.extend(self.unplan(&slot));
                    self.plan(check, slot.machine, due.next())
                }
                None => {
                    let machine =
                        restored.get(&check.key).map_or(Machine::new(), |health| Machine::of(*health));
                    self.plan(check, machine, due.next())
                }
            };
            let (key, interval) = (slot.check.key.clone(), slot.check.draining_interval);
            self.slots.insert(key.clone(), slot);
            self.change(&key, |machine| machine.shorten_draining(interval, now));
        }
        abandoned.extend(before.values().filter_map(|slot| self.unplan(slot)));
        abandoned
    }

    /// The next check of these begins now, or a second after their latest began.
    pub(super) fn hasten(&mut self, keys: &[TargetKey], now: Instant) {
        for key in keys {
            let Some(slot) = self.slots.get_mut(key).filter(|slot| slot.running.is_none()) else { continue };
            let due = slot.begun.map_or(now, |begun| now.max(begun + HASTENED));
            if due < slot.timer {
                self.begins.remove(&(slot.timer, key.clone()));
                self.begins.insert((due, key.clone()));
                slot.timer = due;
                slot.pace = Pace::Scattered;
            }
        }
    }

    /// The thread woke. After a long absence all checks under way are begun again, uncounted.
    pub(super) fn wake(&mut self, now: Instant) -> Vec<Work> {
        if self.absence.wake(now) == Awakening::Ordinary {
            return Vec::new();
        }
        for (_, key) in self.begins.iter().take_while(|(due, _)| *due <= now) {
            if let Some(slot) = self.slots.get_mut(key) {
                slot.pace = Pace::Scattered;
            }
        }
        let mut due = Spread::from(now);
        std::mem::take(&mut self.expiries)
            .into_iter()
            .filter_map(|(_, key)| self.repeat(key, due.next()))
            .collect()
    }

    /// The next thing to do by now; to be asked again until there is nothing. Outcomes known when the thread woke must have
    /// been told before.
    pub(super) fn next(&mut self, now: Instant) -> Option<Work> {
        self.drain(now);
        self.expire(now).or_else(|| self.begin(now))
    }

    /// A check ended. Stale tickets are ignored.
    pub(super) fn finish(&mut self, ticket: Ticket, outcome: Result<(), Cause>, now: Instant) {
        let Some(key) = self.outstanding.remove(&ticket) else { return };
        let Some(slot) = self.slots.get_mut(&key) else { return };
        slot.running = None;
        self.expiries.remove(&(slot.timer, key.clone()));
        let begun = slot.begun.unwrap_or(now);
        slot.timer = now.max(begun + slot.pace.gap(slot.check.interval, (self.jitter)()));
        slot.pace = Pace::Steady;
        self.begins.insert((slot.timer, key.clone()));
        self.news.push(News::Checked { key: key.clone(), took: now - begun, outcome });
        let rules =
            Rules { thresholds: slot.check.thresholds, draining_interval: slot.check.draining_interval };
        self.change(&key, |machine| machine.apply(outcome, rules, now));
    }

    /// What happened since the last call.
    pub(super) fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    pub(super) fn statistics(&self) -> Statistics {
        self.statistics
    }

    /// The thread goes to sleep; gives back when it has to wake, `None` if nothing is to be done ever.
    pub(super) fn sleep(&mut self) -> Option<Instant> {
        let first = |timers: &BTreeSet<(Instant, TargetKey)>| timers.first().map(|(timer, _)| *timer);
        let expiry = first(&self.expiries).map(|attended| self.absence.moment(attended));
        let until = [first(&self.begins), first(&self.drains), expiry].into_iter().flatten().min();
        self.absence.sleep(until, self.outstanding.len())
    }

    fn plan(&mut self, check: Check, machine: Machine, due: Instant) -> Slot {
        self.begins.insert((due, check.key.clone()));
        if let Some(drained) = machine.drained() {
            self.drains.insert((drained, check.key.clone()));
        }
        Slot { check, machine, timer: due, running: None, begun: None, pace: Pace::Scattered }
    }

    /// Forgets a slot's timers; gives back its check under way.
    fn unplan(&mut self, slot: &Slot) -> Option<Work> {
        let key = &slot.check.key;
        if let Some(drained) = slot.machine.drained() {
            self.drains.remove(&(drained, key.clone()));
        }
        let Some(ticket) = slot.running else {
            self.begins.remove(&(slot.timer, key.clone()));
            return None;
        };
        self.expiries.remove(&(slot.timer, key.clone()));
        self.outstanding.remove(&ticket);
        Some(Work::Abandon(ticket))
    }

    fn repeat(&mut self, key: TargetKey, due: Instant) -> Option<Work> {
        let slot = self.slots.get_mut(&key)?;
        let ticket = slot.running.take()?;
        self.outstanding.remove(&ticket);
        (slot.timer, slot.pace) = (due, Pace::Scattered);
        self.begins.insert((due, key));
        self.statistics.repeated += 1;
        Some(Work::Abandon(ticket))
    }

    fn drain(&mut self, now: Instant) {
        while self.drains.first().is_some_and(|(drained, _)| *drained <= now) {
            let Some((_, key)) = self.drains.pop_first() else { return };
            self.change(&key, |machine| machine.drain(now));
        }
    }

    fn expire(&mut self, now: Instant) -> Option<Work> {
        let (expiry, key) = self.expiries.first()?;
        if *expiry > self.absence.attended_until() {
            return None;
        }
        let slot = self.slots.get(key)?;
        let (_, outcome) = slot.check.probe.silence(slot.check.timeout);
        let ticket = slot.running?;
        self.finish(ticket, outcome, now);
        Some(Work::Abandon(ticket))
    }

    fn begin(&mut self, now: Instant) -> Option<Work> {
        let (due, _) = self.begins.first()?;
        if *due > now {
            return None;
        }
        let (due, key) = self.begins.pop_first()?;
        let ticket = Ticket(self.last_ticket.0 + 1);
        self.last_ticket = ticket;
        let slot = self.slots.get_mut(&key)?;
        let (patience, _) = slot.check.probe.silence(slot.check.timeout);
        slot.running = Some(ticket);
        slot.begun = Some(now);
        slot.timer = self.absence.attended(now) + patience;
        let Check { endpoint, opening, ref probe, .. } = slot.check;
        let work = Work::Begin { ticket, endpoint, opening, probe: probe.clone() };
        self.expiries.insert((slot.timer, key.clone()));
        self.statistics.count(now - due);
        self.change(&key, Machine::begin);
        self.outstanding.insert(ticket, key);
        Some(work)
    }

    /// Changes a target's state, tells what became of it, and keeps its place in `drains`.
    fn change(&mut self, key: &TargetKey, change: impl FnOnce(&mut Machine)) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let (from, drained) = (slot.machine.health(), slot.machine.drained());
        change(&mut slot.machine);
        let (to, draining) = (slot.machine.health(), slot.machine.drained());
        if drained != draining {
            drained.map(|drained| self.drains.remove(&(drained, key.clone())));
            draining.map(|drained| self.drains.insert((drained, key.clone())));
        }
        if from != to {
            self.news.push(News::Changed(Transition { key: key.clone(), from, to }));
        }
    }
}

impl Pace {
    /// Time until the next check; `jitter` is from 0 to 1.
    fn gap(self, interval: Duration, jitter: f64) -> Duration {
        let shortest = match self {
            Pace::Scattered => SCATTERED,
            Pace::Steady => STEADY,
        };
        interval.mul_f64(shortest + (1.0 - shortest) * jitter.clamp(0.0, 1.0))
    }
}

/// Moments for checks that come together, so far apart that each is punctual.
struct Spread(Instant);

impl Spread {
    fn from(now: Instant) -> Spread {
        Spread(now)
    }

    fn next(&mut self) -> Instant {
        let next = self.0 + APART;
        std::mem::replace(&mut self.0, next)
    }
}

/// Shortest time to the next check after one out of turn, as a share of the interval.
const SCATTERED: f64 = 0.5;
/// Shortest time to the next check after one in turn, as a share of the interval.
const STEADY: f64 = 0.95;
/// Distance of checks that come together: more than one takes this thread.
const APART: Duration = Duration::from_micros(100);
/// Hastened checks of one target are this long apart at least.
const HASTENED: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
