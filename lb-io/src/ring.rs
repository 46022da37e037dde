//! The rings between the kernel and us: one side produces entries, the other consumes them.
//!
//! ```text
//!                 we produce            kernel consumes
//!   free frames ----> fill ring ------------> receives into them
//!   tx frames   ----> tx ring --------------> sends them
//!
//!                 we consume            kernel produces
//!   worker     <----- rx ring <-------------- received frames
//!   free frames <---- completion ring <------ sent frames
//! ```
//!
//! A frame is in one place at a time: on a ring, in the worker's hands, or free. Indices run through all of u32 and wrap;
//! the slot of an index is its low bits. Arithmetic is apart from memory: [`plain`] makes a ring over ordinary memory, in
//! which tests, fuzzers and benches play the kernel.

use std::{
    any::Any,
    marker::PhantomData,
    mem::MaybeUninit,
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Acquire, Ordering::Relaxed, Ordering::Release},
    },
};

/// The end of a ring that puts entries in. They become visible to the other end by [`Producer::publish`].
pub struct Producer<T> {
    ring: Ring<T>,
    /// Index of the next entry that we write.
    next: u32,
    /// What the other end had consumed when we last looked.
    consumed: u32,
}

impl<T: Copy> Producer<T> {
    /// How many entries there is room for, `wanted` at most. Looks at the other end only when what it knows is too little.
    #[inline]
    pub fn room(&mut self, wanted: u32) -> u32 {
        let mut room = room(self.next, self.consumed, self.ring.size());
        if room < wanted {
            self.consumed = self.ring.consumer().load(Acquire);
            room = self::room(self.next, self.consumed, self.ring.size());
        }
        room.min(wanted)
    }

    /// Writes an entry; false when the ring is full.
    #[inline]
    #[must_use]
    pub fn push(&mut self, entry: T) -> bool {
        let has_room = self.room(1) == 1;
        if has_room {
            // SAFETY: the slot is inside of the ring, and the other end does not read it before `publish`.
            unsafe { self.ring.slot(self.next).write(entry) };
            self.next = self.next.wrapping_add(1);
        }
        has_room
    }

    /// Shows the other end what was written.
    #[inline]
    pub fn publish(&mut self) {
        self.ring.producer().store(self.next, Release);
    }

    /// Entries published that the other end has not consumed yet.
    #[inline]
    pub fn outstanding(&self) -> u32 {
        let consumed = self.ring.consumer().load(Acquire);
        waiting(self.ring.producer().load(Relaxed), consumed, self.ring.size())
    }

    /// Whether the kernel asks to be woken for what was published.
    #[inline]
    pub fn needs_wakeup(&self) -> bool {
        self.ring.flags().load(Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }
}

/// The end of a ring that takes entries out. Slots go back to the other end by [`Consumer::release`].
pub struct Consumer<T> {
    ring: Ring<T>,
    /// Index of the next entry that we read.
    next: u32,
    /// What the other end had produced when we last looked.
    produced: u32,
}

impl<T: Copy> Consumer<T> {
    /// How many entries are there, `most` at most. Looks at the other end only when what it knows is too little.
    #[inline]
    pub fn available(&mut self, most: u32) -> u32 {
        let mut available = waiting(self.produced, self.next, self.ring.size());
        if available < most {
            self.produced = self.ring.producer().load(Acquire);
            available = waiting(self.produced, self.next, self.ring.size());
        }
        available.min(most)
    }

    /// Takes the next entry.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.available(1) == 0 {
            return None;
        }
        // SAFETY: the slot is inside of the ring, and the other end published it and does not write it before `release`.
        let entry = unsafe { self.ring.slot(self.next).read() };
        self.next = self.next.wrapping_add(1);
        Some(entry)
    }

    /// Gives the slots of what was taken back to the other end.
    #[inline]
    pub fn release(&mut self) {
        self.ring.consumer().store(self.next, Release);
    }
}

/// Where the words and slots of a ring lie, in memory that the ring keeps mapped.
pub(crate) struct Ring<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    slots: NonNull<T>,
    mask: u32,
    _memory: Arc<dyn Any + Send + Sync>,
    _entries: PhantomData<T>,
}

// SAFETY: the words are atomics, and each slot belongs to one end at a time, by the protocol of the words.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T> Ring<T> {
    /// A ring whose words and slots lie at these places.
    ///
    /// # Safety
    /// - All four point into `memory`, aligned, `slots` to `size` entries; they stay valid as long as `memory` lives.
    /// - `size` is a power of two, and any bytes are a valid `T`.
    /// - The other end keeps to the protocol of the words.
    pub(crate) unsafe fn new(
        [producer, consumer, flags]: [NonNull<AtomicU32>; 3],
        slots: NonNull<T>,
        size: u32,
        memory: Arc<dyn Any + Send + Sync>,
    ) -> Ring<T> {
        assert!(size.is_power_of_two(), "ring size {size}");
        let mask = size - 1;
        Ring { producer, consumer, flags, slots, mask, _memory: memory, _entries: PhantomData }
    }

    /// Our end, when we produce.
    pub(crate) fn into_producer(self) -> Producer<T> {
        let (next, consumed) = (self.producer().load(Relaxed), self.consumer().load(Acquire));
        Producer { ring: self, next, consumed }
    }

    /// Our end, when we consume.
    pub(crate) fn into_consumer(self) -> Consumer<T> {
        let (produced, next) = (self.producer().load(Acquire), self.consumer().load(Relaxed));
        Consumer { ring: self, next, produced }
    }

    fn size(&self) -> u32 {
        self.mask + 1
    }

    fn slot(&self, index: u32) -> NonNull<T> {
        // SAFETY: the masked index is under the size, and `slots` points to that many entries.
        unsafe { self.slots.add((index & self.mask) as usize) }
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: valid for as long as `_memory`, and only ever used as an atomic.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as for `producer`.
        unsafe { self.consumer.as_ref() }
    }

    fn flags(&self) -> &AtomicU32 {
        // SAFETY: as for `producer`.
        unsafe { self.flags.as_ref() }
    }
}

/// Both ends of a ring over ordinary memory, empty, whose indices begin at `first`.
pub fn plain<T: Copy + Send + Sync + 'static>(size: u32, first: u32) -> (Producer<T>, Consumer<T>) {
    let memory = Arc::new(PlainMemory {
        producer: AtomicU32::new(first),
        consumer: AtomicU32::new(first),
        flags: AtomicU32::new(0),
        slots: NonNull::from(Box::leak(Box::<[T]>::new_uninit_slice(size as usize))),
    });
    let end = || {
        let words = [&memory.producer, &memory.consumer, &memory.flags].map(NonNull::from);
        // SAFETY: words and slots live in `memory`, which frees them when the last end is gone. The two ends made here are
        // one producer and one consumer, so no slot is read before it is written.
        unsafe { Ring::new(words, memory.slots.cast::<T>(), size, memory.clone()) }
    };
    (end().into_producer(), end().into_consumer())
}

/// A ring's words and slots in ordinary memory.
struct PlainMemory<T> {
    producer: AtomicU32,
    consumer: AtomicU32,
    flags: AtomicU32,
    /// Owned: from `Box::leak`.
    slots: NonNull<[MaybeUninit<T>]>,
}

// SAFETY: it owns its slots, and nothing reads or writes them through a shared reference to it.
unsafe impl<T: Send> Send for PlainMemory<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for PlainMemory<T> {}

impl<T> Drop for PlainMemory<T> {
    fn drop(&mut self) {
        // SAFETY: the slots came from `Box::leak`, and both ends are gone.
        drop(unsafe { Box::from_raw(self.slots.as_ptr()) });
    }
}

/// Entries that can be written, given both indices. A consumer index that makes no sense leaves no room.
#[inline]
fn room(next: u32, consumed: u32, size: u32) -> u32 {
    size.saturating_sub(next.wrapping_sub(consumed))
}

/// Entries that can be read, given both indices: never more than the ring holds.
#[inline]
fn waiting(produced: u32, next: u32, size: u32) -> u32 {
    produced.wrapping_sub(next).min(size)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Starts that cross 2^32, the sign bit, and none.
    const STARTS: [u32; 4] = [0, u32::MAX - 2, u32::MAX, i32::MAX as u32 - 1];

    #[test]
    fn entries_come_out_in_order_across_the_wrap() {
        for start in STARTS {
            let (mut producer, mut consumer) = plain::<u64>(8, start);
            for round in 0..10_u64 {
                for entry in 0..5 {
                    assert!(producer.push(round * 5 + entry));
                }
                producer.publish();
                assert_eq!(producer.outstanding(), 5);
                assert_eq!(consumer.available(64), 5);
                for entry in 0..5 {
                    assert_eq!(consumer.pop(), Some(round * 5 + entry), "start {start}");
                }
                assert_eq!(consumer.pop(), None);
                consumer.release();
                assert_eq!(producer.outstanding(), 0);
            }
        }
    }

    #[test]
    fn a_full_ring_takes_nothing_until_slots_are_released() {
        for start in STARTS {
            let (mut producer, mut consumer) = plain::<u64>(4, start);
            assert_eq!(producer.room(100), 4);
            assert!((0..4).all(|entry| producer.push(entry)));
            assert!(!producer.push(4));
            producer.publish();
            assert_eq!(consumer.pop(), Some(0));
            assert!(!producer.push(4), "taken, but not released");
            consumer.release();
            assert_eq!(producer.room(100), 1);
            assert!(producer.push(4));
        }
    }

    #[test]
    fn nothing_is_seen_before_it_is_published() {
        let (mut producer, mut consumer) = plain::<u64>(4, u32::MAX);
        assert!(producer.push(7));
        assert_eq!(consumer.available(4), 0);
        assert_eq!(consumer.pop(), None);
        producer.publish();
        assert_eq!(consumer.pop(), Some(7));
    }

    #[test]
    fn the_wakeup_flag_is_read_from_memory() {
        let (producer, consumer) = plain::<u64>(4, 0);
        assert!(!producer.needs_wakeup());
        consumer.ring.flags().store(libc::XDP_RING_NEED_WAKEUP, Relaxed);
        assert!(producer.needs_wakeup());
    }

    #[test]
    fn indices_that_make_no_sense_cannot_leave_the_ring() {
        assert_eq!(room(10, 11, 8), 0);
        assert_eq!(room(100, 10, 8), 0);
        assert_eq!(waiting(9, 10, 8), 8);
    }

    #[test]
    fn two_threads_agree_on_a_million_entries() {
        let (mut producer, mut consumer) = plain::<u64>(64, u32::MAX - 500_000);
        let writer = thread::spawn(move || {
            for entry in 0..1_000_000_u64 {
                while !producer.push(entry) {
                    thread::yield_now();
                }
                producer.publish();
            }
        });
        for entry in 0..1_000_000_u64 {
            let taken = loop {
                if let Some(taken) = consumer.pop() {
                    break taken;
                }
                thread::yield_now();
            };
            assert_eq!(taken, entry);
            consumer.release();
        }
        writer.join().unwrap();
    }
}
