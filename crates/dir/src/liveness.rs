//! Who is alive: what daemons said last, and when. Not replicated; the time is an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use xtfs_core::{Error, InstanceId, Result, ServiceId, TargetId};
use xtfs_rpc::Address;

use crate::rows::TargetFacts;

/// Names what registers: a target, or an MRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    Target(TargetId),
    Mrc(ServiceId),
}

/// What a daemon says with each registration and heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) targets: HashMap<TargetId, TargetFacts>,
    pub(crate) mrc: Option<MrcReport>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MrcReport {
    pub(crate) id: ServiceId,
    pub(crate) leader: bool,
    pub(crate) fault: String,
}

#[derive(Debug)]
pub(crate) struct Liveness {
    start: Instant,
    /// Silence after which a daemon counts as gone.
    silence_max: Duration,
    instances: HashMap<InstanceId, Instance>,
    owners: HashMap<Subject, InstanceId>,
}

/// One run of a daemon.
#[derive(Debug)]
struct Instance {
    addresses: Vec<Address>,
    report: Report,
    heard: Instant,
    left: bool,
}

/// What is known of a subject at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pulse<'a> {
    pub(crate) alive: bool,
    /// Since it was heard, or since this process began to listen.
    pub(crate) age: Duration,
    pub(crate) report: Option<&'a Report>,
}

/// What a heartbeat has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Nothing,
    /// Free and used bytes.
    Load,
    /// What others should know at once.
    Facts,
    /// This run is not known: it must register.
    Unknown,
}

impl Report {
    pub(crate) fn subjects(&self) -> impl Iterator<Item = Subject> {
        let mrc = self.mrc.iter().map(|mrc| Subject::Mrc(mrc.id));
        self.targets.keys().map(|id| Subject::Target(*id)).chain(mrc)
    }

    fn without_load(&self) -> Report {
        let mut report = self.clone();
        for facts in report.targets.values_mut() {
            (facts.used_bytes, facts.free_bytes) = (0, 0);
        }
        report
    }
}

impl Liveness {
    pub(crate) fn new(start: Instant, silence_max: Duration) -> Self {
        let (instances, owners) = Default::default();
        Liveness { start, silence_max, instances, owners }
    }

    /// Takes note of a registration. Refused if one of its subjects belongs to another run that is
    /// alive elsewhere; one at the same addresses is its predecessor.
    pub(crate) fn register(
        &mut self,
        instance: InstanceId,
        addresses: Vec<Address>,
        report: Report,
        now: Instant,
    ) -> Result<()> {
        for subject in report.subjects() {
            self.check_owner(subject, instance, &addresses, now)?;
        }
        for subject in report.subjects() {
            self.owners.insert(subject, instance);
        }
        self.instances.insert(instance, Instance { addresses, report, heard: now, left: false });
        // Runs that own nothing any more were superseded.
        let owners = &self.owners;
        self.instances.retain(|id, run| {
            run.report.subjects().any(|subject| owners.get(&subject) == Some(id))
        });
        Ok(())
    }

    fn check_owner(
        &self,
        subject: Subject,
        instance: InstanceId,
        addresses: &[Address],
        now: Instant,
    ) -> Result<()> {
        let Some(owner) = self.owners.get(&subject).filter(|owner| **owner != instance) else {
            return Ok(());
        };
        let Some(other) = self.instances.get(owner) else { return Ok(()) };
        let age = now.saturating_duration_since(other.heard);
        if other.left || age > self.silence_max || other.addresses == addresses {
            return Ok(());
        }
        let name = match subject {
            Subject::Target(id) => format!("target {id}"),
            Subject::Mrc(id) => format!("MRC {id}"),
        };
        Err(Error::Busy(format!(
            "{name} is served by another process at {}, heard {:.1} s ago (this one is at {}); \
             stop one of them, and never start a copy of a data directory",
            join(&other.addresses),
            age.as_secs_f64(),
            join(addresses)
        )))
    }

    pub(crate) fn heartbeat(
        &mut self,
        instance: InstanceId,
        report: Report,
        now: Instant,
    ) -> Change {
        let owned = |subject| self.owners.get(&subject) == Some(&instance);
        if !report.subjects().all(owned) {
            return Change::Unknown;
        }
        let Some(run) = self.instances.get_mut(&instance).filter(|run| !run.left) else {
            return Change::Unknown;
        };
        let change = match &run.report {
            old if *old == report => Change::Nothing,
            old if old.without_load() == report.without_load() => Change::Load,
            _ => Change::Facts,
        };
        (run.report, run.heard) = (report, now);
        change
    }

    /// It says itself that it stops.
    pub(crate) fn leave(&mut self, instance: InstanceId) {
        if let Some(run) = self.instances.get_mut(&instance) {
            run.left = true;
        }
    }

    pub(crate) fn pulse(&self, subject: Subject, now: Instant) -> Pulse<'_> {
        match self.owners.get(&subject).and_then(|owner| self.instances.get(owner)) {
            Some(run) => {
                let age = now.saturating_duration_since(run.heard);
                let alive = !run.left && age <= self.silence_max;
                Pulse { alive, age, report: Some(&run.report) }
            }
            // Registered with an earlier run of this DIR: it gets the time to be heard.
            None => {
                let age = now.saturating_duration_since(self.start);
                Pulse { alive: age <= self.silence_max, age, report: None }
            }
        }
    }
}

fn join(addresses: &[Address]) -> String {
    addresses.iter().map(Address::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE_MAX: Duration = Duration::from_secs(6);
    const SECOND: Duration = Duration::from_secs(1);

    struct World {
        liveness: Liveness,
        start: Instant,
        mrc: ServiceId,
    }

    impl World {
        fn new() -> Self {
            let start = Instant::now();
            let liveness = Liveness::new(start, SILENCE_MAX);
            World { liveness, start, mrc: ServiceId::generate() }
        }

        fn report(&self) -> Report {
            let mrc = MrcReport { id: self.mrc, leader: true, fault: String::new() };
            Report { mrc: Some(mrc), ..Report::default() }
        }

        fn register(&mut self, run: InstanceId, host: &str, at: Duration) -> Result<()> {
            let report = self.report();
            self.liveness.register(run, vec![Address::new(host, 1)], report, self.start + at)
        }

        fn heartbeat(&mut self, run: InstanceId, at: Duration) -> Change {
            let report = self.report();
            self.liveness.heartbeat(run, report, self.start + at)
        }

        fn alive(&self, at: Duration) -> bool {
            self.liveness.pulse(Subject::Mrc(self.mrc), self.start + at).alive
        }
    }

    #[test]
    fn everybody_lives_until_one_interval_after_the_start() {
        let world = World::new();
        assert!(world.alive(SILENCE_MAX));
        assert!(!world.alive(SILENCE_MAX + SECOND));
    }

    #[test]
    fn silence_is_death_and_leaving_is_at_once() {
        let mut world = World::new();
        let run = InstanceId::generate();
        assert_eq!(world.heartbeat(run, SECOND), Change::Unknown);
        world.register(run, "a", SECOND).unwrap();
        assert_eq!(world.heartbeat(run, 5 * SECOND), Change::Nothing);
        assert!(world.alive(11 * SECOND));
        assert!(!world.alive(12 * SECOND));
        world.liveness.leave(run);
        assert!(!world.alive(5 * SECOND));
        assert_eq!(world.heartbeat(run, 6 * SECOND), Change::Unknown);
    }

    #[test]
    fn an_id_has_one_living_owner() {
        let mut world = World::new();
        let [first, second, third] = [(); 3].map(|()| InstanceId::generate());
        world.register(first, "a", SECOND).unwrap();
        let refused = world.register(second, "b", 2 * SECOND).unwrap_err().to_string();
        assert!(refused.contains("at a:1, heard 1.0 s ago (this one is at b:1)"), "{refused}");
        world.register(second, "a", 2 * SECOND).expect("a restart at the same address");
        assert_eq!(world.heartbeat(first, 3 * SECOND), Change::Unknown);
        assert!(world.register(third, "b", 8 * SECOND).is_err());
        world.register(third, "b", 9 * SECOND).expect("the other is silent");
        world.liveness.leave(third);
        world.register(first, "c", 9 * SECOND).expect("the other has left");
        assert_eq!(world.liveness.instances.len(), 1);
    }
}
