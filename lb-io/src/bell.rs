//! How a worker learns that somebody wants something of it, awake or asleep. Used by `worker`.
//!
//! A caller does something for the worker, then rings; the worker says that it goes to sleep, then looks for something to do.
//! Between the two steps of each stands a fence, so that at least one sees the other: no call is slept over.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

use crate::sync::{AtomicBool, fence};

/// The flags between one worker and those who call it.
#[derive(Debug)]
pub(crate) struct Bell {
    /// Commands are waiting.
    is_called: AtomicBool,
    /// The worker is to end.
    is_stopped: AtomicBool,
    /// The worker sleeps, or is about to.
    is_asleep: AtomicBool,
}

impl Bell {
    /// Of a worker that is awake, and that nobody has called.
    pub(crate) fn new() -> Bell {
        Bell {
            is_called: AtomicBool::new(false),
            is_stopped: AtomicBool::new(false),
            is_asleep: AtomicBool::new(false),
        }
    }

    /// Has the worker look at its commands; `wake` ends its sleep.
    pub(crate) fn call(&self, wake: impl FnOnce()) {
        self.is_called.store(true, Release);
        self.ring(wake);
    }

    /// Has the worker end.
    pub(crate) fn stop(&self, wake: impl FnOnce()) {
        self.is_stopped.store(true, Release);
        self.ring(wake);
    }

    /// Wakes the worker if it sleeps: whatever was done for it before this, it sees after.
    pub(crate) fn ring(&self, wake: impl FnOnce()) {
        fence(SeqCst);
        if self.is_asleep.load(Relaxed) {
            wake();
        }
    }

    /// Whether the worker was called since it last asked: the commands of every such call can be taken.
    #[inline]
    pub(crate) fn take_call(&self) -> bool {
        self.is_called.load(Relaxed) && self.is_called.swap(false, Acquire)
    }

    /// Whether the worker is to end.
    #[inline]
    pub(crate) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Acquire)
    }

    /// Sleeps by `sleep`, which ends when a caller's `wake` was called before or is then; not while there is a call, or work
    /// by `has_work`.
    pub(crate) fn rest(&self, has_work: impl FnOnce() -> bool, sleep: impl FnOnce()) {
        self.is_asleep.store(true, Relaxed);
        fence(SeqCst);
        if !self.is_called.load(Relaxed) && !self.is_stopped.load(Relaxed) && !has_work() {
            sleep();
        }
        self.is_asleep.store(false, Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn only_a_sleeper_is_woken_and_only_an_idle_worker_sleeps() {
        let bell = Bell::new();
        let woken = Cell::new(0);
        let wake = || woken.set(woken.get() + 1);
        bell.ring(wake);
        bell.call(wake);
        assert_eq!(woken.get(), 0);
        bell.rest(|| false, || panic!("there is a call"));
        assert!(bell.take_call() && !bell.take_call());
        bell.rest(|| true, || panic!("there is work"));
        bell.rest(|| false, || bell.ring(wake));
        assert_eq!(woken.get(), 1);
        bell.stop(wake);
        assert!(bell.is_stopped());
        bell.rest(|| false, || panic!("it is to end"));
    }
}

/// The worker's loop and the engine's side of it, with nothing but what passes between them.
#[cfg(all(test, loom))]
mod models {
    use loom::{
        sync::{Arc, Notify, mpsc},
        thread,
    };

    use super::*;
    use crate::spsc;

    /// Tables that only the thread which made them may drop.
    struct Tables {
        generation: u32,
        owner: thread::ThreadId,
    }

    impl Tables {
        fn new(generation: u32) -> Tables {
            Tables { generation, owner: thread::current().id() }
        }
    }

    impl Drop for Tables {
        fn drop(&mut self) {
            assert_eq!(thread::current().id(), self.owner, "dropped by the worker");
        }
    }

    #[test]
    fn loom_no_command_is_slept_over_and_the_engine_drops_old_tables() {
        loom::model(|| {
            let shared = Arc::new((Bell::new(), Notify::new()));
            let (commands, told) = mpsc::channel();
            let (retire, retired) = mpsc::channel();
            let of_worker = shared.clone();
            let mut tables = Tables::new(0);
            let worker = thread::spawn(move || {
                let (bell, wakeup) = &*of_worker;
                while !bell.is_stopped() {
                    if bell.take_call() {
                        while let Ok(new) = told.try_recv() {
                            retire.send(std::mem::replace(&mut tables, new)).unwrap();
                        }
                    }
                    bell.rest(|| false, || wakeup.wait());
                }
                (tables, told)
            });
            let (bell, wakeup) = &*shared;
            commands.send(Tables::new(1)).unwrap();
            bell.call(|| wakeup.notify());
            // Ends only if the worker has not slept over the call.
            assert_eq!(retired.recv().unwrap().generation, 0);
            bell.stop(|| wakeup.notify());
            let (last, _told) = worker.join().unwrap();
            assert_eq!(last.generation, 1);
        });
    }

    #[test]
    fn loom_no_parcel_is_slept_over() {
        loom::model(|| {
            let shared = Arc::new((Bell::new(), Notify::new()));
            let (mut outbox, mut inbox) = spsc::ring(1);
            let of_worker = shared.clone();
            let worker = thread::spawn(move || {
                let (bell, wakeup) = &*of_worker;
                loop {
                    if let Some(parcel) = inbox.pop() {
                        return parcel;
                    }
                    bell.rest(|| !inbox.is_empty(), || wakeup.wait());
                }
            });
            let (bell, wakeup) = &*shared;
            assert!(outbox.push(7));
            outbox.publish();
            bell.ring(|| wakeup.notify());
            assert_eq!(worker.join().unwrap(), 7);
        });
    }
}
