//! The loop on a real terminal, which is as it was when the loop ends: by a key, an error, a panic or a signal.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crossbeam_channel::Receiver;
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::{
    poll::News,
    screen::Screen,
    state::{Key, Top},
};

/// Shows what comes until somebody quits.
pub(super) fn run(news: Receiver<News>) -> io::Result<()> {
    let signal = Arc::new(AtomicUsize::new(0));
    for number in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register_usize(number, signal.clone(), number as usize)?;
    }
    let shown = {
        let mut restored = Restored(ratatui::try_init()?);
        show(&mut restored.0, &news, &signal)
    };
    match signal.load(Ordering::Relaxed) {
        0 => shown,
        // The terminal is restored: now end as one that knows nothing of signals does.
        number => signal_hook::low_level::emulate_default_handler(number as i32),
    }
}

/// A terminal that is restored when it is dropped. (The library does so after a panic.)
struct Restored(DefaultTerminal);

impl Drop for Restored {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn show(terminal: &mut DefaultTerminal, news: &Receiver<News>, signal: &AtomicUsize) -> io::Result<()> {
    let mut top = Top::default();
    loop {
        terminal.draw(|frame| frame.render_widget(Screen(&top), frame.area()))?;
        let mut heard = Heard::Nothing;
        while heard == Heard::Nothing {
            if signal.load(Ordering::Relaxed) != 0 {
                return Ok(());
            }
            heard = listen(&mut top, news)?;
        }
        if heard == Heard::Quit {
            return Ok(());
        }
    }
}

/// What came of a look at the daemon and the keyboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Nothing,
    /// The screen is to be drawn again.
    Something,
    Quit,
}

/// Takes what the daemon says, then what the terminal does, for which it waits a moment.
fn listen(top: &mut Top, news: &Receiver<News>) -> io::Result<Heard> {
    let mut heard = Heard::Nothing;
    for news in news.try_iter() {
        heard = Heard::Something;
        match news {
            News::Sample(sample) => top.take(*sample),
            News::Away(why) => top.lose(why),
        }
    }
    while poll(if heard == Heard::Nothing { LOOK_AGAIN } else { Duration::ZERO })? {
        heard = Heard::Something; // A resize, if it is no key.
        if let Event::Key(key) = event::read()? {
            if is_quit(&key) {
                return Ok(Heard::Quit);
            }
            if let Some(key) = meaning(&key) {
                top.press(key);
            }
        }
    }
    Ok(heard)
}

/// Whether something comes from the terminal in this time. A signal ends the wait, and is no error.
fn poll(wait: Duration) -> io::Result<bool> {
    match event::poll(wait) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
        answer => answer,
    }
}

fn is_quit(key: &KeyEvent) -> bool {
    match key.code {
        KeyCode::Char('c') => key.modifiers.contains(KeyModifiers::CONTROL),
        KeyCode::Char(letter) => letter == 'q',
        _ => false,
    }
}

fn meaning(key: &KeyEvent) -> Option<Key> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    Some(match key.code {
        KeyCode::Up | KeyCode::Char('k') => Key::Up,
        KeyCode::Down | KeyCode::Char('j') => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home | KeyCode::Char('g') => Key::First,
        KeyCode::End | KeyCode::Char('G') => Key::Last,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc | KeyCode::Backspace => Key::Back,
        KeyCode::Tab => Key::NextView,
        KeyCode::BackTab => Key::PreviousView,
        KeyCode::Char('s') => Key::Sort,
        KeyCode::Char('r') => Key::Reverse,
        KeyCode::Char('p') => Key::Pause,
        KeyCode::Char('?') => Key::Help,
        _ => return None,
    })
}

/// How often signals and news are looked for while no key comes.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
