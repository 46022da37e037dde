//! How many connections there are, and whose: of the control API, and of the ELBv2 endpoint. One who has all that he may have
//! gets another by giving up the one that has waited longest without a request: connections that nobody uses keep nobody out.
//! Addresses are cheap to come by, so in a full house one of them takes the place of another's, too.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::Notify;

use super::limits::{ANSWER_GRACE, Limits};

/// Whom connections are counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    Uid(u32),
    Address(IpAddr),
}

/// All connections.
#[derive(Debug)]
pub(crate) struct Seats {
    limits: Limits,
    taken: Mutex<HashMap<Holder, Vec<Arc<Place>>>>,
}

/// A connection's right to be there, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Arc<Seats>,
    holder: Holder,
    place: Arc<Place>,
}

#[derive(Debug)]
struct Place {
    use_: Mutex<Use>,
    displaced: Notify,
}

/// What a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// Waits for a request; may be displaced from this time on.
    Waits(Instant),
    /// Has a request under way.
    Works,
    /// Sends a stream without end.
    Streams,
}

impl Seats {
    pub(crate) fn new(limits: Limits) -> Arc<Seats> {
        Arc::new(Seats { limits, taken: Mutex::default() })
    }

    /// A seat, perhaps at the cost of another; `None` when all work that could be displaced.
    pub(crate) fn take(self: &Arc<Seats>, holder: Holder) -> Option<Seat> {
        let mut taken = lock(&self.taken);
        let has_all = taken.get(&holder).is_some_and(|own| own.len() >= self.limits.connections_per_user);
        let is_full = !is_apart(holder) && count_of_others(&taken) >= self.limits.connections;
        if has_all || is_full {
            let is_giver = |other: Holder| other == holder;
            let gives = displace(&mut taken, is_giver)
                || !has_all && is_address(holder) && displace(&mut taken, is_address);
            if !gives {
                return None;
            }
        }
        let place =
            Arc::new(Place { use_: Mutex::new(Use::Waits(Instant::now())), displaced: Notify::new() });
        taken.entry(holder).or_default().push(place.clone());
        Some(Seat { seats: self.clone(), holder, place })
    }
}

/// Ends the connection that has waited longest of all whose holders may be asked for one. Whether there is one.
fn displace(taken: &mut HashMap<Holder, Vec<Arc<Place>>>, is_giver: impl Fn(Holder) -> bool) -> bool {
    let now = Instant::now();
    let asked = taken.iter().filter(|(holder, _)| is_giver(**holder));
    let places = asked.flat_map(|(holder, places)| places.iter().map(|place| (*holder, place)));
    let waiting = places.filter_map(|(holder, place)| Some((place.waits_since(now)?, holder, place.clone())));
    let Some((_, holder, longest)) = waiting.min_by_key(|(since, ..)| *since) else { return false };
    longest.displaced.notify_one();
    remove(taken, holder, &longest);
    true
}

fn remove(taken: &mut HashMap<Holder, Vec<Arc<Place>>>, holder: Holder, gone: &Arc<Place>) {
    if let Some(places) = taken.get_mut(&holder) {
        places.retain(|place| !Arc::ptr_eq(place, gone));
        if places.is_empty() {
            taken.remove(&holder);
        }
    }
}

impl Seat {
    /// A request has begun.
    pub(crate) fn work(&self) {
        self.place.set(Use::Works);
    }

    /// A request has its answer.
    pub(crate) fn rest(&self) {
        self.place.set(Use::Waits(Instant::now() + ANSWER_GRACE));
    }

    /// Turns a connection into a stream, unless half of what its holder may have are streams already.
    pub(super) fn stream(&self) -> bool {
        let taken = lock(&self.seats.taken);
        let places = taken.get(&self.holder).map_or(&[][..], Vec::as_slice);
        let streams = places.iter().filter(|place| *lock(&place.use_) == Use::Streams).count();
        let is_allowed = streams < self.seats.limits.connections_per_user.div_ceil(2);
        if is_allowed {
            self.place.set(Use::Streams);
        }
        is_allowed
    }

    /// Returns when another has taken the seat.
    pub(crate) async fn displaced(&self) {
        self.place.displaced.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        remove(&mut lock(&self.seats.taken), self.holder, &self.place);
    }
}

impl Place {
    fn set(&self, new: Use) {
        *lock(&self.use_) = new;
    }

    /// Since when it may be displaced; `None`: not now.
    fn waits_since(&self, now: Instant) -> Option<Instant> {
        match *lock(&self.use_) {
            Use::Waits(from) if from <= now => Some(from),
            _ => None,
        }
    }
}

/// The operator must get in however many others there are.
fn is_apart(holder: Holder) -> bool {
    holder == Holder::Uid(0)
}

fn is_address(holder: Holder) -> bool {
    matches!(holder, Holder::Address(_))
}

fn count_of_others(taken: &HashMap<Holder, Vec<Arc<Place>>>) -> usize {
    taken.iter().filter(|(holder, _)| !is_apart(**holder)).map(|(_, places)| places.len()).sum()
}

/// A thread that panicked has left whole values behind: each is written at once.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(seats: &Seats) -> usize {
        lock(&seats.taken).values().map(Vec::len).sum()
    }

    fn seats(connections: usize, connections_per_user: usize) -> Arc<Seats> {
        Seats::new(Limits { connections, connections_per_user, ..Limits::default() })
    }

    #[test]
    fn one_user_displaces_his_own_idle_connections_alone() {
        let seats = seats(10, 2);
        let (guest, other) = (Holder::Uid(7), Holder::Uid(8));
        let idle = seats.take(guest).unwrap();
        let busy = seats.take(guest).unwrap();
        busy.work();
        let others = seats.take(other).unwrap();
        let third = seats.take(guest).unwrap();
        assert_eq!(count(&seats), 3, "the idle one has lost its seat");
        drop(idle); // Late, as a connection notices.
        third.work();
        assert!(seats.take(guest).is_none(), "both work");
        busy.rest();
        assert!(seats.take(guest).is_none(), "an answer may be on its way");
        drop((busy, third, others));
        assert_eq!(count(&seats), 0);
    }

    #[test]
    fn a_full_house_has_room_for_the_operator() {
        let seats = seats(3, 2);
        let guests: Vec<Seat> = (1..=3).map(|uid| seats.take(Holder::Uid(uid)).unwrap()).collect();
        assert!(seats.take(Holder::Uid(4)).is_none());
        assert!(seats.take(Holder::Uid(0)).is_some());
        drop(guests);
        assert!(seats.take(Holder::Uid(4)).is_some());
    }

    #[test]
    fn in_a_full_house_an_address_takes_the_place_that_another_has_left_idle_longest() {
        let seats = seats(3, 2);
        let [one, other, third] = [1, 2, 3].map(|last| Holder::Address([127, 0, 0, last].into()));
        let user = seats.take(Holder::Uid(7)).unwrap();
        let busy = seats.take(one).unwrap();
        busy.work();
        let idle = seats.take(other).unwrap();
        let newcomer = seats.take(third).unwrap();
        newcomer.work();
        assert_eq!(count(&seats), 3);
        assert!(seats.take(other).is_none(), "its own is gone, the others work, and a user's is not for it");
        drop((user, busy, idle, newcomer));
        assert_eq!(count(&seats), 0);
    }

    #[test]
    fn streams_leave_room_for_requests() {
        let seats = seats(10, 4);
        let held: Vec<Seat> = (0..4).map(|_| seats.take(Holder::Uid(0)).unwrap()).collect();
        let allowed: Vec<bool> = held.iter().map(Seat::stream).collect();
        assert_eq!(allowed, [true, true, false, false]);
    }
}
