//! One measurement: many at work for a while, and what that took.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::process::Used;

#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// What was done, in the operation's unit.
    pub(crate) count: u64,
    pub(crate) operations: u64,
    pub(crate) elapsed: Duration,
    pub(crate) median: Duration,
    pub(crate) p99: Duration,
    pub(crate) own: Used,
    pub(crate) mrc: Option<Used>,
}

/// How long operations took, and what they did.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    took: Vec<Duration>,
    count: u64,
}

impl Samples {
    pub(crate) fn add(&mut self, took: Duration, count: u64) {
        self.took.push(took);
        self.count += count;
    }
}

/// From its making to [`Clock::stop`].
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    own: Used,
    mrc: Option<(u32, Used)>,
}

impl Clock {
    pub(crate) fn start(mrc: Option<u32>) -> Result<Self> {
        let mrc = mrc.map(|pid| Used::of(pid).map(|used| (pid, used))).transpose()?;
        Ok(Clock { start: Instant::now(), own: Used::of(std::process::id())?, mrc })
    }

    pub(crate) fn stop(self, samples: Vec<Samples>) -> Result<Measured> {
        let elapsed = self.start.elapsed();
        let own = Used::of(std::process::id())?.since(self.own);
        let mrc = self.mrc.map(|(pid, before)| Used::of(pid).map(|used| used.since(before)));
        let count = samples.iter().map(|samples| samples.count).sum();
        let mut took: Vec<_> = samples.into_iter().flat_map(|samples| samples.took).collect();
        took.sort_unstable();
        let at = |hundredths: usize| took.get(took.len() * hundredths / 100).copied();
        Ok(Measured {
            count,
            operations: took.len() as u64,
            elapsed,
            median: at(50).unwrap_or_default(),
            p99: at(99).unwrap_or_default(),
            own,
            mrc: mrc.transpose()?,
        })
    }
}

/// Runs `act` on as many threads as there are `workers`, again and again, for `length`.
pub(crate) fn on_threads<W: Send>(
    workers: Vec<W>,
    length: Duration,
    act: impl Fn(&mut W) -> Result<u64> + Sync,
) -> Result<Measured> {
    let clock = Clock::start(None)?;
    let over = AtomicBool::new(false);
    let work = |mut worker: W| {
        let mut samples = Samples::default();
        let end = Instant::now() + length;
        while Instant::now() < end && !over.load(Ordering::Relaxed) {
            let begun = Instant::now();
            // One that fails ends them all.
            let count = act(&mut worker).inspect_err(|_| over.store(true, Ordering::Relaxed))?;
            samples.add(begun.elapsed(), count);
        }
        Ok(samples)
    };
    let samples = std::thread::scope(|scope| {
        let threads: Vec<_> =
            workers.into_iter().map(|worker| scope.spawn(|| work(worker))).collect();
        let joined = threads.into_iter().map(|thread| thread.join().expect("it does not panic"));
        joined.collect::<Result<Vec<_>>>()
    });
    clock.stop(samples?)
}
