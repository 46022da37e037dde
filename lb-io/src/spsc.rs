//! A bounded ring between two threads: one produces, the other consumes, neither waits. Both work in batches: what one has done
//! the other sees after `publish` or `release`. Used by `handoff`.
//!
//! ```text
//!   head: next to consume          tail: next to produce
//!          v                              v
//!   | free | full | full | full | full | free | free | free |
//! ```
//!
//! Indices run through all of usize and wrap; the slot of an index is its low bits. Each end owns one index and keeps a copy
//! of the other's, at which it looks again only when the copy says full, or empty.
//!
//! Invariant: slots from head to tail hold values and are the consumer's; all others are the producer's.

use std::{
    fmt,
    mem::MaybeUninit,
    sync::atomic::Ordering::{Acquire, Relaxed, Release},
};

use crossbeam_utils::CachePadded;

use crate::sync::{Arc, AtomicUsize, UnsafeCell};

/// Both ends of a ring for at least `capacity` values: for as many as the next power of two.
pub(crate) fn ring<T: Copy>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    let slots = (0..capacity.next_power_of_two()).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect();
    let ring = Arc::new(Ring {
        slots,
        head: CachePadded::new(AtomicUsize::new(0)),
        tail: CachePadded::new(AtomicUsize::new(0)),
    });
    (Producer { ring: ring.clone(), tail: 0, head_seen: 0 }, Consumer { ring, head: 0, tail_seen: 0 })
}

/// The end that puts values in.
pub(crate) struct Producer<T> {
    ring: Arc<Ring<T>>,
    tail: usize,
    head_seen: usize,
}

impl<T: Copy> Producer<T> {
    /// Puts a value in, to be seen after the next `publish`; false when the ring is full.
    #[inline]
    #[must_use]
    pub(crate) fn push(&mut self, value: T) -> bool {
        if self.is_full() {
            self.head_seen = self.ring.head.load(Acquire);
            if self.is_full() {
                return false;
            }
        }
        // SAFETY: the slot is not between head and tail, so it is ours. If the consumer had it before, what it did there came
        // before the head that we acquired.
        self.ring.slot(self.tail).with_mut(|slot| unsafe { (*slot).write(value) });
        self.tail = self.tail.wrapping_add(1);
        true
    }

    /// Shows the consumer what was put in.
    #[inline]
    pub(crate) fn publish(&mut self) {
        self.ring.tail.store(self.tail, Release);
    }

    fn is_full(&self) -> bool {
        self.tail.wrapping_sub(self.head_seen) == self.ring.slots.len()
    }
}

/// The end that takes values out.
pub(crate) struct Consumer<T> {
    ring: Arc<Ring<T>>,
    head: usize,
    tail_seen: usize,
}

impl<T: Copy> Consumer<T> {
    /// How many values can be taken out, `most` at most. Looks at the producer's index only when what it knows is too little.
    #[inline]
    pub(crate) fn available(&mut self, most: usize) -> usize {
        if self.tail_seen.wrapping_sub(self.head) < most {
            self.tail_seen = self.ring.tail.load(Acquire);
        }
        self.tail_seen.wrapping_sub(self.head).min(most)
    }

    /// The value that is `ahead` places behind the oldest; `None` when that was not known to be available.
    #[inline]
    pub(crate) fn peek(&self, ahead: usize) -> Option<T> {
        if ahead >= self.tail_seen.wrapping_sub(self.head) {
            return None;
        }
        // SAFETY: the slot is between head and tail, so it holds a value, and the producer leaves it alone. What it wrote there
        // came before the tail that we acquired.
        Some(self.ring.slot(self.head.wrapping_add(ahead)).with(|slot| unsafe { (*slot).assume_init() }))
    }

    /// Takes the oldest value out. Its slot goes back to the producer at the next `release`.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<T> {
        if self.available(1) == 0 {
            return None;
        }
        let value = self.peek(0);
        self.head = self.head.wrapping_add(1);
        value
    }

    /// Gives the slots of what was taken out back to the producer.
    #[inline]
    pub(crate) fn release(&mut self) {
        self.ring.head.store(self.head, Release);
    }

    /// Whether there is nothing to take out.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head == self.ring.tail.load(Relaxed)
    }
}

struct Ring<T> {
    /// As many as a power of two.
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    head: CachePadded<AtomicUsize>,
    tail: CachePadded<AtomicUsize>,
}

// SAFETY: the values go from one thread to another, which `T: Send` allows; the indices say who may touch a slot.
unsafe impl<T: Send> Send for Ring<T> {}
// SAFETY: as above. Of `&Ring`, only the one producer and the one consumer use slots.
unsafe impl<T: Send> Sync for Ring<T> {}

impl<T> Ring<T> {
    #[inline]
    fn slot(&self, index: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.slots[index & (self.slots.len() - 1)]
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("tail", &self.tail).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("head", &self.head).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn values_come_out_in_order_and_no_more_than_fit_go_in() {
        let (mut producer, mut consumer) = ring(3);
        for round in 0..10 {
            assert!(consumer.is_empty());
            assert_eq!(consumer.pop(), None);
            assert!((0..4).all(|value| producer.push(round * 4 + value)));
            assert!(!producer.push(99) && consumer.is_empty(), "not published");
            producer.publish();
            assert!(!consumer.is_empty() && consumer.available(9) == 4);
            assert_eq!(
                [consumer.peek(0), consumer.peek(3), consumer.peek(4)],
                [Some(round * 4), Some(round * 4 + 3), None]
            );
            assert!((0..4).all(|value| consumer.pop() == Some(round * 4 + value)));
            assert!(!producer.push(99), "not released");
            consumer.release();
        }
    }

    #[test]
    fn indices_wrap() {
        let (mut producer, mut consumer) = ring(2);
        let near_the_end = usize::MAX - 1;
        (producer.tail, producer.head_seen) = (near_the_end, near_the_end);
        (consumer.head, consumer.tail_seen) = (near_the_end, near_the_end);
        producer.ring.head.store(near_the_end, Relaxed);
        producer.ring.tail.store(near_the_end, Relaxed);
        for round in 0..10 {
            assert!(producer.push(round) && producer.push(!round) && !producer.push(99));
            producer.publish();
            assert_eq!([consumer.pop(), consumer.pop(), consumer.pop()], [Some(round), Some(!round), None]);
            consumer.release();
        }
    }
}

#[cfg(all(test, loom))]
mod models {
    use loom::thread;

    use super::*;

    #[test]
    fn loom_values_arrive_once_and_in_order() {
        loom::model(|| {
            let (mut producer, mut consumer) = ring(2);
            let sender = thread::spawn(move || {
                let mut send = |value| {
                    let is_sent = producer.push(value);
                    producer.publish();
                    is_sent
                };
                (1..=3).take_while(|&value| send(value)).count()
            });
            let mut arrived = Vec::new();
            for _ in 0..2 {
                arrived.extend(consumer.pop());
                consumer.release();
            }
            let sent = sender.join().unwrap();
            arrived.extend(std::iter::from_fn(|| consumer.pop()));
            assert!(sent >= 2, "there is room for two");
            assert_eq!(arrived, (1..=sent).collect::<Vec<_>>());
        });
    }
}
