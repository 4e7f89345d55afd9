//! kill -9 and restart of services in the middle of some work: a pause, no failure.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::{Cluster, Daemon, eventually_within};

/// The work may have long computations between its requests.
const PATIENCE: Duration = Duration::from_secs(600);

/// Requests to a service before it is killed, at most.
const ONCE_AFTER: u64 = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    None,
    /// The MRC and an OSD, each once.
    Once,
    /// Again and again until the end, with about so many requests in between.
    Every(u64),
}

impl Disturbance {
    /// Runs `work` and disturbs it. Panics if it was over before anything was killed.
    ///
    /// The work must have its files open in other processes: starting a service makes a copy of this one, which closes
    /// them, and a close may wait for that very service.
    #[track_caller]
    pub fn during<T: Send>(
        self,
        cluster: &mut Cluster,
        seed: u64,
        work: impl FnOnce() -> T + Send,
    ) -> T {
        std::thread::scope(|scope| {
            let work = scope.spawn(work);
            let mut kill = |random: &mut StdRng, mrc: bool, requests: u64| {
                let victims = match mrc {
                    true => std::slice::from_mut(&mut cluster.mrc),
                    false => cluster.osds.as_mut_slice(),
                };
                kill_after(victims, random.random_range(1..=requests), || work.is_finished())
            };
            let random = &mut StdRng::seed_from_u64(seed);
            match self {
                Disturbance::None => {}
                Disturbance::Once => {
                    let both = kill(random, true, ONCE_AFTER) && kill(random, false, ONCE_AFTER);
                    let done = work.join();
                    assert!(both || done.is_err(), "it was over before all were killed");
                    return done;
                }
                Disturbance::Every(requests) => loop {
                    let mrc = random.random();
                    if !kill(random, mrc, 2 * requests) {
                        break;
                    }
                },
            }
            work.join()
        })
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Kills the first of the services that has answered so many more requests, and starts it again: not all need have a part
/// in the work. `false`: the work was over.
#[track_caller]
fn kill_after(victims: &mut [Daemon], requests: u64, is_over: impl Fn() -> bool) -> bool {
    let before: Vec<_> = victims.iter().map(Daemon::answered).collect();
    let mut victim = None;
    eventually_within(PATIENCE, "the work goes on", || {
        let mut answered = victims.iter().map(Daemon::answered).zip(&before);
        victim = answered.position(|(now, before)| now >= before + requests);
        victim.is_some() || is_over()
    });
    let Some(victim) = victim.map(|victim| &mut victims[victim]) else { return false };
    victim.kill9();
    victim.restart();
    true
}
