//! How many connections there are, and whose. One who has all that he may have gets another by giving up the one that has waited
//! longest without a request: connections that nobody uses keep nobody out.

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
pub(super) enum Holder {
    Uid(u32),
    Address(IpAddr),
}

/// All connections.
#[derive(Debug)]
pub(super) struct Seats {
    limits: Limits,
    taken: Mutex<HashMap<Holder, Vec<Arc<Place>>>>,
}

/// A connection's right to be there, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
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
    pub(super) fn new(limits: Limits) -> Arc<Seats> {
        Arc::new(Seats { limits, taken: Mutex::default() })
    }

    /// A seat, perhaps at the cost of another of the same holder; `None` when all work.
    pub(super) fn take(self: &Arc<Seats>, holder: Holder) -> Option<Seat> {
        let mut taken = lock(&self.taken);
        let of_others = |(other, places): (&Holder, &Vec<_>)| if is_apart(*other) { 0 } else { places.len() };
        let is_full =
            !is_apart(holder) && taken.iter().map(of_others).sum::<usize>() >= self.limits.connections;
        let places = taken.entry(holder).or_default();
        if is_full || places.len() >= self.limits.connections_per_user {
            let now = Instant::now();
            let Some(index) = places.iter().position(|place| place.is_displaceable(now)) else {
                if places.is_empty() {
                    taken.remove(&holder);
                }
                return None;
            };
            places.remove(index).displaced.notify_one();
        }
        let place =
            Arc::new(Place { use_: Mutex::new(Use::Waits(Instant::now())), displaced: Notify::new() });
        places.push(place.clone());
        Some(Seat { seats: self.clone(), holder, place })
    }
}

impl Seat {
    /// A request has begun.
    pub(super) fn work(&self) {
        self.place.set(Use::Works);
    }

    /// A request has its answer.
    pub(super) fn rest(&self) {
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
    pub(super) async fn displaced(&self) {
        self.place.displaced.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = lock(&self.seats.taken);
        if let Some(places) = taken.get_mut(&self.holder) {
            places.retain(|place| !Arc::ptr_eq(place, &self.place));
            if places.is_empty() {
                taken.remove(&self.holder);
            }
        }
    }
}

impl Place {
    fn set(&self, new: Use) {
        *lock(&self.use_) = new;
    }

    fn is_displaceable(&self, now: Instant) -> bool {
        matches!(*lock(&self.use_), Use::Waits(from) if from <= now)
    }
}

/// The operator must get in however many others there are.
fn is_apart(holder: Holder) -> bool {
    holder == Holder::Uid(0)
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
    fn streams_leave_room_for_requests() {
        let seats = seats(10, 4);
        let held: Vec<Seat> = (0..4).map(|_| seats.take(Holder::Uid(0)).unwrap()).collect();
        let allowed: Vec<bool> = held.iter().map(Seat::stream).collect();
        assert_eq!(allowed, [true, true, false, false]);
    }
}
