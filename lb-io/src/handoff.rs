//! Frames on their way from one worker to another, by descriptor: the receiver reads the sender's UMEM, copies the frame
//! into its own and gives the descriptor back.
//!
//! ```text
//!   sender  Outbox --- parcels ---> Inbox  receiver
//!                  <-- returned ---
//! ```
//!
//! Both rings have room for as many parcels as the sender may have out: the ring of returns cannot be full. Single producer,
//! single consumer, no lock; neither side ever waits. Both work in batches, so that a cache line goes to the other core once for
//! all that is in it.

use std::sync::Arc;

use lb_core::tables::InterfaceId;

use crate::{
    spsc::{self, Consumer, Producer},
    umem::Umem,
};

/// A frame in the sender's UMEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parcel {
    /// Address of its first byte.
    pub(crate) start: u64,
    /// Length in bytes.
    pub(crate) len: u32,
    /// Interface that it came in by.
    pub(crate) ingress: InterfaceId,
}

/// The sender's end.
#[derive(Debug)]
pub(crate) struct Outbox {
    parcels: Producer<Parcel>,
    returned: Consumer<u64>,
    out: usize,
    capacity: usize,
}

impl Outbox {
    /// Gives a frame to the receiver, which sees it after the next `publish`; false when too many are on their way, and the frame
    /// stays the caller's.
    #[inline]
    #[must_use]
    pub(crate) fn send(&mut self, parcel: Parcel) -> bool {
        let is_sent = self.out < self.capacity && self.parcels.push(parcel);
        self.out += usize::from(is_sent);
        is_sent
    }

    /// Shows the receiver what was sent.
    #[inline]
    pub(crate) fn publish(&mut self) {
        self.parcels.publish();
    }

    /// Whether frames are to come back.
    #[inline]
    pub(crate) fn is_owed(&self) -> bool {
        self.out > 0
    }

    /// Takes back the frames that the receiver has copied, by the address they were sent with.
    #[inline]
    pub(crate) fn reclaim(&mut self, mut give_back: impl FnMut(u64)) {
        while let Some(start) = self.returned.pop() {
            self.out -= 1;
            give_back(start);
        }
        self.returned.release();
    }
}

/// The receiver's end.
#[derive(Debug)]
pub(crate) struct Inbox {
    rings: InboxRings,
    umem: Arc<Umem>,
}

impl Inbox {
    /// Whether there is a frame to take.
    #[inline]
    pub(crate) fn has_parcels(&self) -> bool {
        !self.rings.parcels.is_empty()
    }

    /// How many frames there are to take, `most` at most. Has them fetched from the sender's cache meanwhile.
    #[inline]
    pub(crate) fn prepare(&mut self, most: usize) -> usize {
        let count = self.rings.parcels.available(most);
        for parcel in (0..count).filter_map(|ahead| self.rings.parcels.peek(ahead)) {
            self.umem.prefetch(parcel.start);
        }
        count
    }

    /// Shows `copy` the next frame, which goes back to the sender at the next `release`; false when there is none.
    #[inline]
    pub(crate) fn take(&mut self, copy: impl FnOnce(&Parcel, &[u8])) -> bool {
        self.rings.take(|parcel| {
            // SAFETY: with the parcel, the sender gave the frame's chunk to us; it uses it again only after it is returned,
            // when this frame is gone.
            if let Some(frame) = unsafe { self.umem.frame(parcel.start, parcel.len, parcel.ingress) } {
                copy(parcel, frame.bytes());
            }
        })
    }

    /// Gives the frames that were taken back to the sender.
    #[inline]
    pub(crate) fn release(&mut self) {
        self.rings.release();
    }
}

/// The receiver's end, without the memory that the parcels are in.
#[derive(Debug)]
struct InboxRings {
    parcels: Consumer<Parcel>,
    returned: Producer<u64>,
}

impl InboxRings {
    /// Lets `read` use the next parcel's frame, which goes back at the next `release`; false when there is none.
    #[inline]
    fn take(&mut self, read: impl FnOnce(&Parcel)) -> bool {
        let Some(parcel) = self.parcels.pop() else { return false };
        read(&parcel);
        let is_returned = self.returned.push(parcel.start);
        debug_assert!(is_returned, "more parcels out than the ring of returns holds");
        true
    }

    /// Gives what was taken back to the sender.
    #[inline]
    fn release(&mut self) {
        self.parcels.release();
        self.returned.publish();
    }
}

/// A worker's ends of the ways between it and all others.
#[derive(Debug, Default)]
pub(crate) struct Ways {
    /// By the receiver's number; `None` for itself.
    pub(crate) outboxes: Vec<Option<Outbox>>,
    pub(crate) inboxes: Vec<Inbox>,
}

/// For each worker, by the memory of each, the ways to and from all others, each for at most `capacity` frames.
pub(crate) fn ways(umems: &[Arc<Umem>], capacity: usize) -> Vec<Ways> {
    let mut ways: Vec<Ways> = umems.iter().map(|_| Ways::default()).collect();
    for (from, umem) in umems.iter().enumerate() {
        for to in 0..umems.len() {
            if from == to {
                ways[from].outboxes.push(None);
            } else {
                let (outbox, inbox) = way(umem.clone(), capacity);
                ways[from].outboxes.push(Some(outbox));
                ways[to].inboxes.push(inbox);
            }
        }
    }
    ways
}

/// Both ends of a way for at most `capacity` frames of `umem`, the sender's.
fn way(umem: Arc<Umem>, capacity: usize) -> (Outbox, Inbox) {
    let (outbox, rings) = rings(capacity);
    (outbox, Inbox { rings, umem })
}

fn rings(capacity: usize) -> (Outbox, InboxRings) {
    let (send_parcels, take_parcels) = spsc::ring(capacity);
    let (send_returned, take_returned) = spsc::ring(capacity);
    (
        Outbox { parcels: send_parcels, returned: take_returned, out: 0, capacity },
        InboxRings { parcels: take_parcels, returned: send_returned },
    )
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn parcel(umem: &Umem, chunk: u64, fill: u8) -> Parcel {
        // SAFETY: the tests use each chunk in one place at a time.
        unsafe { umem.frame(chunk + 256, 60, InterfaceId(1)) }.unwrap().bytes_mut().fill(fill);
        Parcel { start: chunk + 256, len: 60, ingress: InterfaceId(1) }
    }

    #[test]
    fn a_frame_arrives_and_its_descriptor_comes_back() {
        let umem = Arc::new(Umem::allocate(4, 2_048).unwrap());
        let (mut outbox, mut inbox) = way(umem.clone(), 4);
        let sent = parcel(&umem, 2_048, 0x5a);
        assert!(outbox.send(sent));
        assert!(!inbox.has_parcels(), "not published");
        outbox.publish();
        assert!(inbox.has_parcels());
        assert_eq!([inbox.prepare(0), inbox.prepare(64)], [0, 1]);
        let mut seen = None;
        assert!(inbox.take(|parcel, bytes| seen = Some((*parcel, bytes.to_vec()))));
        assert_eq!(seen, Some((sent, vec![0x5a; 60])));
        assert!(!inbox.take(|_, _| panic!("there was one frame")));
        outbox.reclaim(|_| panic!("not released"));
        inbox.release();
        let mut back = Vec::new();
        outbox.reclaim(|start| back.push(start));
        assert_eq!(back, [2_048 + 256]);
    }

    #[test]
    fn no_more_are_out_than_can_come_back() {
        let umem = Arc::new(Umem::allocate(8, 2_048).unwrap());
        let (mut outbox, mut inbox) = way(umem.clone(), 2);
        let mut free = umem.free_frames();
        assert!(outbox.send(parcel(&umem, free.take().unwrap(), 1)));
        assert!(outbox.send(parcel(&umem, free.take().unwrap(), 2)));
        let kept = parcel(&umem, free.take().unwrap(), 3);
        assert!(!outbox.send(kept));
        outbox.publish();
        assert!(inbox.take(|_, _| {}));
        inbox.release();
        assert!(!outbox.send(kept), "taken, but the sender has not seen the return yet");
        outbox.reclaim(|start| free.give(umem.chunk_of(start)));
        assert!(outbox.send(kept));
        assert_eq!(free.count(), 6);
    }

    #[test]
    fn two_threads_lose_no_frame() {
        const FRAMES: u32 = 64;
        const SENT: u32 = 100_000;
        let umem = Arc::new(Umem::allocate(FRAMES, 2_048).unwrap());
        let (mut outbox, mut inbox) = way(umem.clone(), 16);
        let receiver = std::thread::spawn(move || {
            let mut expected = 0_u32;
            while expected < SENT {
                let took = inbox.take(|_, bytes| {
                    assert_eq!(bytes[..4], expected.to_ne_bytes());
                    expected += 1;
                });
                inbox.release();
                if !took {
                    std::thread::yield_now();
                }
            }
        });
        let mut free = umem.free_frames();
        for number in 0..SENT {
            let chunk = free.take().expect("at most 16 of 64 frames are out");
            // SAFETY: the chunk is free, so it is ours alone.
            let mut frame = unsafe { umem.frame(chunk, 60, InterfaceId(0)) }.unwrap();
            frame.bytes_mut()[..4].copy_from_slice(&number.to_ne_bytes());
            let sent = Parcel { start: chunk, len: 60, ingress: InterfaceId(0) };
            while !outbox.send(sent) {
                outbox.reclaim(|start| free.give(umem.chunk_of(start)));
                std::thread::yield_now();
            }
            outbox.publish();
            outbox.reclaim(|start| free.give(umem.chunk_of(start)));
        }
        receiver.join().unwrap();
        outbox.reclaim(|start| free.give(umem.chunk_of(start)));
        assert_eq!(free.count(), FRAMES as usize);
    }
}

#[cfg(all(test, loom))]
mod models {
    use loom::{cell::UnsafeCell, sync::Arc, thread};

    use super::*;

    /// Two chunks and a way for one parcel: the sender writes a chunk's number of use before it sends, and writes it again
    /// only when it has come back. loom fails the model when a chunk is read while it is written.
    #[test]
    fn loom_a_frame_has_one_owner() {
        loom::model(|| {
            let chunks = Arc::new([UnsafeCell::new(0_u32), UnsafeCell::new(0)]);
            let (mut outbox, mut inbox) = rings(1);
            let of_receiver = chunks.clone();
            let receiver = thread::spawn(move || {
                let mut seen = Vec::new();
                for _ in 0..2 {
                    inbox.take(|parcel| {
                        // SAFETY: the parcel's chunk is the receiver's until it is returned; loom checks that.
                        seen.push(of_receiver[parcel.start as usize].with(|chunk| unsafe { *chunk }));
                    });
                    inbox.release();
                }
                (inbox, seen)
            });
            let mut free = vec![1, 0];
            let mut sent = Vec::new();
            for use_number in 1..=3 {
                let chunk = *free.last().expect("one of two is out at most");
                // SAFETY: a free chunk is the sender's; loom checks that.
                chunks[chunk as usize].with_mut(|chunk| unsafe { *chunk = use_number });
                if outbox.send(Parcel { start: chunk, len: 60, ingress: InterfaceId(0) }) {
                    free.pop();
                    sent.push(use_number);
                }
                outbox.publish();
                outbox.reclaim(|chunk| free.push(chunk));
            }
            let (mut inbox, mut seen) = receiver.join().unwrap();
            // SAFETY: the receiver's thread has ended, and what it had not taken is taken here.
            while inbox
                .take(|parcel| seen.push(chunks[parcel.start as usize].with(|chunk| unsafe { *chunk })))
            {
            }
            inbox.release();
            outbox.reclaim(|chunk| free.push(chunk));
            assert_eq!(seen, sent, "every frame arrives once, in order");
            free.sort_unstable();
            assert_eq!(free, [0, 1], "every chunk comes back once");
        });
    }
}
