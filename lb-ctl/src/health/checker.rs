//! The checking thread: sockets of thousands of checks, and the time for the roster.
//!
//! Every check is a future that is polled when mio says something about its socket, when its waker was called, and once
//! at its beginning. Nothing else is known of it, so its socket needs not note who waits for what.

use std::{
    collections::HashMap,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Wake, Waker},
    time::{Instant, SystemTime},
};

use crossbeam_channel::Receiver;
use mio::{Events, Registry, Token};

use super::{
    Board, Cause, Command, Transition,
    roster::{Roster, Ticket, Work},
    socket::Place,
};

/// The thread's belongings.
pub(super) struct Checker {
    poll: mio::Poll,
    registry: Arc<Registry>,
    commands: Receiver<Command>,
    board: Arc<Board>,
    roster: Roster,
    tasks: HashMap<Ticket, Task>,
    /// Tickets of tasks to poll.
    woken: Arc<Mutex<Vec<Ticket>>>,
}

/// A check under way.
struct Task {
    future: Pin<Box<dyn Future<Output = Result<(), Cause>> + Send>>,
    waker: Waker,
}

/// Whether the thread goes on.
#[derive(PartialEq, Eq)]
enum Next {
    Continue,
    Stop,
}

impl Checker {
    pub(super) fn new(commands: Receiver<Command>, board: Arc<Board>) -> io::Result<Checker> {
        let poll = mio::Poll::new()?;
        let registry = Arc::new(poll.registry().try_clone()?);
        let roster = Roster::new(Instant::now(), jitter);
        let (tasks, woken) = (HashMap::new(), Arc::default());
        Ok(Checker { poll, registry, commands, board, roster, tasks, woken })
    }

    /// Wakes the thread when there are commands.
    pub(super) fn waker(&self) -> io::Result<mio::Waker> {
        mio::Waker::new(self.poll.registry(), WAKE)
    }

    pub(super) fn run(mut self, mut on_transition: impl FnMut(Transition)) {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            self.wait(&mut events);
            if self.obey() == Next::Stop {
                return;
            }
            self.work();
            self.tell(&mut on_transition);
        }
    }

    /// Waits for the next timer or event, and takes every outcome that is there before any timer is looked at.
    fn wait(&mut self, events: &mut Events) {
        let until = self.roster.sleep();
        self.take_events(events, until);
        let repeated = self.roster.wake(Instant::now());
        self.carry_out(repeated);
        while self.poll_tasks_of(events) == EVENTS {
            self.take_events(events, Some(Instant::now()));
        }
    }

    fn take_events(&mut self, events: &mut Events, until: Option<Instant>) {
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        // A signal may interrupt the wait, which has brought nothing then.
        if self.poll.poll(events, timeout).is_err() {
            events.clear();
        }
    }

    /// Polls the tasks that these events are about, and tells how many events there are.
    fn poll_tasks_of(&mut self, events: &Events) -> usize {
        let mut count = 0;
        for event in events {
            count += 1;
            self.poll_task(Ticket(event.token().0));
        }
        self.poll_woken();
        count
    }

    fn poll_woken(&mut self) {
        let tickets = std::mem::take(&mut *self.woken.lock().unwrap_or_else(PoisonError::into_inner));
        for ticket in tickets {
            self.poll_task(ticket);
        }
    }

    fn poll_task(&mut self, ticket: Ticket) {
        let Some(task) = self.tasks.get_mut(&ticket) else { return };
        if let Poll::Ready(outcome) = task.future.as_mut().poll(&mut Context::from_waker(&task.waker)) {
            self.tasks.remove(&ticket);
            self.roster.finish(ticket, outcome, Instant::now());
        }
    }

    fn obey(&mut self) -> Next {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Stop => return Next::Stop,
                Command::Set { checks, restored } => {
                    let abandoned = self.roster.set(checks, &restored, Instant::now());
                    self.carry_out(abandoned);
                }
                Command::Hasten(keys) => self.roster.hasten(&keys, Instant::now()),
            }
        }
        Next::Continue
    }

    /// Does what is due, but no more at once than leaves time for answers.
    fn work(&mut self) {
        for _ in 0..WORK {
            let work = self.roster.next(Instant::now());
            if work.is_none() {
                return;
            }
            self.carry_out(work);
        }
    }

    fn carry_out(&mut self, work: impl IntoIterator<Item = Work>) {
        for item in work {
            match item {
                Work::Abandon(ticket) => drop(self.tasks.remove(&ticket)),
                Work::Begin { ticket, endpoint, opening, probe } => {
                    let place = Place::new(self.registry.clone(), Token(ticket.0), opening);
                    let waker = Waker::from(Arc::new(Bell { ticket, woken: self.woken.clone() }));
                    let future = Box::pin(async move { probe.check(endpoint, &place).await });
                    self.tasks.insert(ticket, Task { future, waker });
                    self.poll_task(ticket);
                }
            }
        }
    }

    fn tell(&mut self, on_transition: &mut impl FnMut(Transition)) {
        *self.board.statistics() = self.roster.statistics();
        let news = self.roster.take_news();
        if news.is_empty() {
            return;
        }
        let now = SystemTime::now();
        for transition in news.into_iter().filter_map(|news| self.board.note(news, now)) {
            on_transition(transition);
        }
    }
}

/// Notes that a task wants to be polled again.
struct Bell {
    ticket: Ticket,
    woken: Arc<Mutex<Vec<Ticket>>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner).push(self.ticket);
    }
}

/// From 0 to 1, different for every check and every process.
fn jitter() -> f64 {
    f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX)
}

const WAKE: Token = Token(usize::MAX);
const EVENTS: usize = 1_024;
/// Checks begun or ended by their timers in one turn.
const WORK: usize = 64;
