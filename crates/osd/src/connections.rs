//! Generations of a client's connections to one target (O2): a retry follows a hello, and a hello is
//! answered only when nothing older can land any more.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use xtfs_core::{ClientId, Error, Generation, Result};

/// A client that has neither a stream nor a request for so long is forgotten; it says hello again.
const CLIENT_IDLE_MAX: Duration = Duration::from_secs(600);
/// Clients remembered for each target; at the bound a hello is refused as `Overloaded`.
const CLIENTS_MAX: usize = 64 << 10;

/// What a hello leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    /// Nothing older is in flight: answer.
    Open,
    /// Requests of older generations are still in flight.
    Waiting,
}

#[derive(Debug)]
struct Client {
    /// Greatest generation that said hello. Lower ones are refused.
    newest: Generation,
    /// Requests in flight, by generation. No zeros.
    in_flight: BTreeMap<Generation, u32>,
    /// Streams that are open. They keep the entry.
    streams: u32,
    used: Instant,
}

/// The state of all clients of a target. Holds no channel and asks no clock.
#[derive(Debug, Default)]
struct State {
    clients: HashMap<ClientId, Client>,
}

impl Client {
    /// Whether requests of older generations than the newest are still in flight.
    fn draining(&self) -> bool {
        self.in_flight.first_key_value().is_some_and(|(oldest, _)| *oldest < self.newest)
    }

    fn idle(&self, now: Instant) -> bool {
        self.in_flight.is_empty()
            && self.streams == 0
            && now.saturating_duration_since(self.used) >= CLIENT_IDLE_MAX
    }
}

impl State {
    /// From now on everything below `generation` is refused. The same generation twice is refused,
    /// too: what was sent after its first hello may still be under way.
    fn hello(&mut self, client: ClientId, generation: Generation, now: Instant) -> Result<Opening> {
        if !self.clients.contains_key(&client) {
            self.make_room(now)?;
        }
        let known = self.clients.entry(client).or_insert_with(|| Client {
            newest: Generation(0),
            in_flight: BTreeMap::new(),
            streams: 0,
            used: now,
        });
        if generation <= known.newest {
            return Err(Error::StaleConnection);
        }
        known.newest = generation;
        known.used = now;
        Ok(if known.draining() { Opening::Waiting } else { Opening::Open })
    }

    /// Asked again by one whose hello had to wait.
    fn opening(&self, client: ClientId, generation: Generation) -> Result<Opening> {
        let known = self.clients.get(&client).filter(|known| known.newest == generation);
        let known = known.ok_or(Error::StaleConnection)?;
        Ok(if known.draining() { Opening::Waiting } else { Opening::Open })
    }

    /// A request comes in.
    fn begin(&mut self, client: ClientId, generation: Generation, now: Instant) -> Result<()> {
        self.opening(client, generation).and_then(|opening| match opening {
            Opening::Open => Ok(()),
            // Not answered yet, so nothing may be sent on it.
            Opening::Waiting => Err(Error::StaleConnection),
        })?;
        if let Some(known) = self.clients.get_mut(&client) {
            known.used = now;
            *known.in_flight.entry(generation).or_default() += 1;
        }
        Ok(())
    }

    /// A request is finished or dropped. Tells whether that lets a hello be answered.
    fn end(&mut self, client: ClientId, generation: Generation, now: Instant) -> bool {
        let Some(known) = self.clients.get_mut(&client) else { return false };
        known.used = now;
        if let Some(count) = known.in_flight.get_mut(&generation) {
            *count -= 1;
            if *count == 0 {
                known.in_flight.remove(&generation);
            }
        }
        generation < known.newest && !known.draining()
    }

    fn open_stream(&mut self, client: ClientId) {
        if let Some(known) = self.clients.get_mut(&client) {
            known.streams += 1;
        }
    }

    fn close_stream(&mut self, client: ClientId, now: Instant) {
        if let Some(known) = self.clients.get_mut(&client) {
            known.streams -= 1;
            known.used = now;
        }
    }

    fn make_room(&mut self, now: Instant) -> Result<()> {
        if self.clients.len() >= CLIENTS_MAX {
            self.expire(now);
        }
        if self.clients.len() >= CLIENTS_MAX {
            return Err(Error::Overloaded(format!("{CLIENTS_MAX} clients are connected")));
        }
        Ok(())
    }

    fn expire(&mut self, now: Instant) {
        self.clients.retain(|_, client| !client.idle(now));
    }
}

/// [`State`] with a lock, a clock, and a bell for hellos that wait.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    state: Mutex<State>,
    drained: Notify,
}

/// A generation that said hello, for as long as its stream is open.
#[derive(Debug)]
pub(crate) struct Stream {
    connections: Arc<Connections>,
    client: ClientId,
    generation: Generation,
}

/// A request in flight. Dropping it ends the request.
#[derive(Debug)]
pub(crate) struct InFlight {
    connections: Arc<Connections>,
    client: ClientId,
    generation: Generation,
}

impl Connections {
    /// Opens a generation: returns once nothing older is in flight.
    pub(crate) async fn hello(&self, client: ClientId, generation: Generation) -> Result<()> {
        let mut opening = self.state.lock().hello(client, generation, Instant::now())?;
        while opening == Opening::Waiting {
            let drained = self.drained.notified();
            tokio::pin!(drained);
            // Registered before the state is looked at, so that no bell in between is missed.
            drained.as_mut().enable();
            opening = self.state.lock().opening(client, generation)?;
            if opening == Opening::Waiting {
                drained.await;
                opening = self.state.lock().opening(client, generation)?;
            }
        }
        Ok(())
    }

    /// Keeps the client known while its stream is open.
    pub(crate) fn stream(self: &Arc<Self>, client: ClientId, generation: Generation) -> Stream {
        self.state.lock().open_stream(client);
        Stream { connections: Arc::clone(self), client, generation }
    }

    pub(crate) fn begin(
        self: &Arc<Self>,
        client: ClientId,
        generation: Generation,
    ) -> Result<InFlight> {
        self.state.lock().begin(client, generation, Instant::now())?;
        Ok(InFlight { connections: Arc::clone(self), client, generation })
    }

    /// Forgets clients that vanished.
    pub(crate) fn expire(&self) {
        self.state.lock().expire(Instant::now());
    }

    pub(crate) fn clients(&self) -> usize {
        self.state.lock().clients.len()
    }
}

impl Stream {
    pub(crate) fn begin(&self) -> Result<InFlight> {
        self.connections.begin(self.client, self.generation)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.connections.state.lock().close_stream(self.client, Instant::now());
    }
}

impl InFlight {
    /// Refuses a request that waited in a queue while a newer generation said hello.
    pub(crate) fn still_newest(&self) -> Result<()> {
        self.connections.state.lock().opening(self.client, self.generation).map(|_| ())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut state = self.connections.state.lock();
        if state.end(self.client, self.generation, Instant::now()) {
            drop(state);
            self.connections.drained.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ONE: Generation = Generation(1);
    const TWO: Generation = Generation(2);
    const THREE: Generation = Generation(3);

    struct Fixture {
        state: State,
        client: ClientId,
        now: Instant,
    }

    impl Fixture {
        fn new() -> Self {
            Fixture { state: State::default(), client: ClientId::generate(), now: Instant::now() }
        }

        fn hello(&mut self, generation: Generation) -> Result<Opening> {
            self.state.hello(self.client, generation, self.now)
        }

        fn begin(&mut self, generation: Generation) -> Result<()> {
            self.state.begin(self.client, generation, self.now)
        }

        fn end(&mut self, generation: Generation) -> bool {
            self.state.end(self.client, generation, self.now)
        }

        fn opening(&self, generation: Generation) -> Result<Opening> {
            self.state.opening(self.client, generation)
        }
    }

    #[test]
    fn nothing_is_served_before_a_hello() {
        let mut fixture = Fixture::new();
        assert_eq!(fixture.begin(ONE), Err(Error::StaleConnection));
        assert_eq!(fixture.hello(ONE), Ok(Opening::Open));
        assert_eq!(fixture.begin(ONE), Ok(()));
    }

    #[test]
    fn a_delayed_duplicate_is_refused_after_a_newer_hello() {
        let mut fixture = Fixture::new();
        assert_eq!(fixture.hello(ONE), Ok(Opening::Open));
        assert_eq!(fixture.hello(TWO), Ok(Opening::Open));
        assert_eq!(fixture.begin(ONE), Err(Error::StaleConnection));
        assert_eq!(fixture.hello(ONE), Err(Error::StaleConnection));
        assert_eq!(fixture.hello(TWO), Err(Error::StaleConnection));
        assert_eq!(fixture.begin(TWO), Ok(()));
    }

    #[test]
    fn a_hello_waits_for_what_is_in_flight() {
        let mut fixture = Fixture::new();
        fixture.hello(ONE).unwrap();
        fixture.begin(ONE).unwrap();
        fixture.begin(ONE).unwrap();
        assert_eq!(fixture.hello(TWO), Ok(Opening::Waiting));
        assert_eq!(fixture.begin(TWO), Err(Error::StaleConnection));
        assert!(!fixture.end(ONE));
        assert_eq!(fixture.opening(TWO), Ok(Opening::Waiting));
        assert!(fixture.end(ONE));
        assert_eq!(fixture.opening(TWO), Ok(Opening::Open));
        assert_eq!(fixture.begin(TWO), Ok(()));
    }

    #[test]
    fn a_hello_that_is_overtaken_while_it_waits_is_refused() {
        let mut fixture = Fixture::new();
        fixture.hello(ONE).unwrap();
        fixture.begin(ONE).unwrap();
        assert_eq!(fixture.hello(TWO), Ok(Opening::Waiting));
        assert_eq!(fixture.hello(THREE), Ok(Opening::Waiting));
        assert!(fixture.end(ONE));
        assert_eq!(fixture.opening(TWO), Err(Error::StaleConnection));
        assert_eq!(fixture.opening(THREE), Ok(Opening::Open));
    }

    #[test]
    fn a_client_that_vanished_is_forgotten_and_says_hello_again() {
        let mut fixture = Fixture::new();
        fixture.hello(TWO).unwrap();
        fixture.begin(TWO).unwrap();
        fixture.state.open_stream(fixture.client);
        let later = fixture.now + CLIENT_IDLE_MAX;
        fixture.state.expire(later);
        assert_eq!(fixture.opening(TWO), Ok(Opening::Open), "a request is in flight");
        fixture.end(TWO);
        fixture.state.expire(later);
        assert_eq!(fixture.opening(TWO), Ok(Opening::Open), "its stream is open");
        fixture.state.close_stream(fixture.client, fixture.now);
        fixture.state.expire(later);
        assert_eq!(fixture.begin(TWO), Err(Error::StaleConnection));
        assert_eq!(fixture.hello(ONE), Ok(Opening::Open));
    }

    #[test]
    fn clients_are_bounded() {
        let mut state = State::default();
        let now = Instant::now();
        for _ in 0..CLIENTS_MAX {
            state.hello(ClientId::generate(), ONE, now).unwrap();
        }
        let refused = state.hello(ClientId::generate(), ONE, now);
        assert!(matches!(refused, Err(Error::Overloaded(_))));
        assert!(state.hello(ClientId::generate(), ONE, now + CLIENT_IDLE_MAX).is_ok());
        assert_eq!(state.clients.len(), 1);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Hello(u64),
        Begin(u64),
        End(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (1..6u64).prop_map(Step::Hello),
            (1..6u64).prop_map(Step::Begin),
            (0..8usize).prop_map(Step::End),
        ];
        proptest::collection::vec(step, 0..40)
    }

    proptest! {
        /// Whatever the order, once a hello is answered nothing older is in flight or begins.
        #[test]
        fn an_answered_hello_has_nothing_older_behind_it(steps in steps()) {
            let mut fixture = Fixture::new();
            let mut running: Vec<u64> = Vec::new();
            let mut answered = 0;
            for step in steps {
                match step {
                    Step::Hello(generation) => {
                        if fixture.hello(Generation(generation)) == Ok(Opening::Open) {
                            answered = generation;
                        }
                    }
                    Step::Begin(generation) => {
                        if fixture.begin(Generation(generation)).is_ok() {
                            prop_assert!(generation >= answered);
                            running.push(generation);
                        }
                    }
                    Step::End(at) => {
                        if at < running.len() {
                            fixture.end(Generation(running.remove(at)));
                        }
                    }
                }
                for generation in 1..6 {
                    if fixture.opening(Generation(generation)) == Ok(Opening::Open) {
                        answered = answered.max(generation);
                    }
                }
                prop_assert!(running.iter().all(|&generation| generation >= answered));
            }
        }
    }

    #[tokio::test]
    async fn a_waiting_hello_is_woken_by_the_last_request() {
        let connections = Arc::new(Connections::default());
        let client = ClientId::generate();
        connections.hello(client, ONE).await.unwrap();
        let request = connections.begin(client, ONE).unwrap();
        let waiting = tokio::spawn({
            let connections = Arc::clone(&connections);
            async move { connections.hello(client, TWO).await }
        });
        while request.still_newest().is_ok() {
            tokio::task::yield_now().await;
        }
        assert!(!waiting.is_finished());
        drop(request);
        assert_eq!(waiting.await.unwrap(), Ok(()));
    }
}
