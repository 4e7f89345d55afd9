//! Those who look while something is changed: what they are answered may be from before or after it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, Scope};

use super::look::{Look, Way};
use super::view::View;

/// Looks that one makes in turn.
const LOOKS: usize = 6;

/// Threads that look until this is dropped.
#[derive(Debug)]
pub(super) struct Onlookers<'a>(&'a AtomicBool);

impl<'a> Onlookers<'a> {
    /// One for each view. Returns when each has looked at everything once.
    pub(super) fn start<'scope>(
        scope: &'scope Scope<'scope, 'a>,
        stop: &'a AtomicBool,
        views: Vec<View>,
        looks: &[Look],
    ) -> Self {
        // Memory of a file that is cut while it is looked at is a fault of the program.
        let safe = |look: &&Look| !Way::HELD.contains(&look.way) && look.way != Way::Mapped;
        let at_paths = looks.iter().filter(safe);
        let looks: Vec<_> = at_paths.copied().take(LOOKS).collect();
        let count = views.len();
        let (tell, told) = mpsc::channel();
        for mut view in views {
            let (looks, tell) = (looks.clone(), tell.clone());
            scope.spawn(move || {
                let mut look_at_all = || looks.iter().for_each(|look| drop(look.see(&mut view)));
                look_at_all();
                // Whoever waits for it has gone only if the round has failed.
                let _ = tell.send(());
                while !stop.load(Ordering::Relaxed) {
                    look_at_all();
                    thread::yield_now();
                }
            });
        }
        drop(tell);
        told.iter().take(count).for_each(drop);
        Onlookers(stop)
    }
}

impl Drop for Onlookers<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
