//! One case's view of the target: requests to send, what came, and what the upstream saw.

pub(crate) mod api;
pub(crate) mod control;
pub(crate) mod log;
mod pace;
pub(crate) mod wire;

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) use api::ApiTrial;
pub(crate) use log::Log;
pub(crate) use wire::Wire;

use crate::case::{Case, Need, Stop};
use crate::profile::Route;
use crate::target::{Instance, Layer};
use crate::upstream::{Station, lock};
use crate::wire::h2::Connection2;
use crate::wire::{Answer, Request, WireError};

/// How long an answer is awaited: longer than any wait of the layer's defaults.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(25);
/// How long the upstream is given to see what was sent.
pub(crate) const ARRIVAL_LIMIT: Duration = Duration::from_secs(15);

/// The credentials of the usual caller and of another one.
pub(crate) const ALICE: &str = "Bearer check-alice-5d1f";
pub(crate) const BOB: &str = "Bearer check-bob-77c2";

/// The usual payload.
pub(crate) const PAYLOAD: &str = "{\"item\":\"chair\",\"amount\":100}";
/// Another payload.
pub(crate) const OTHER_PAYLOAD: &str = "{\"item\":\"chair\",\"amount\":900}";

/// A layer-mode case at work.
#[derive(Debug)]
pub(crate) struct Trial {
    pub layer: Arc<Layer>,
    /// The case's place at the upstream.
    pub station: Station,
    pub log: Log,
    /// Whether the case's requests go to the instances in turn: unless it starts and ends one.
    alternates: bool,
    case: &'static str,
    /// Which round of judgement this is, from 0: each has keys of its own.
    round: u32,
    keys: AtomicU32,
    further: Mutex<Vec<Station>>,
    turns: AtomicUsize,
}

impl Trial {
    pub(crate) fn new(layer: Arc<Layer>, case: &Case, round: u32, log: Log) -> Self {
        let station = layer.upstream.station(&layer.run);
        Self {
            layer,
            station,
            log,
            alternates: !case.needs.contains(&Need::Command),
            case: case.id,
            round,
            keys: AtomicU32::new(0),
            further: Mutex::default(),
            turns: AtomicUsize::new(0),
        }
    }

    /// A further place at the upstream.
    pub(crate) fn station(&self) -> Station {
        let station = self.layer.upstream.station(&self.layer.run);
        lock(&self.further).push(station.clone());
        station
    }

    /// A key that nobody used before.
    pub(crate) fn key(&self) -> String {
        let number = self.keys.fetch_add(1, Ordering::Relaxed);
        match self.round {
            0 => format!("{}-{}-{number}", self.layer.run, self.case),
            round => format!("{}-{}-{number}-again{round}", self.layer.run, self.case),
        }
    }

    /// The target of the case's operation under a prefix.
    pub(crate) fn path(&self, route: Route) -> String {
        self.path_of(&self.station, route)
    }

    pub(crate) fn path_of(&self, station: &Station, route: Route) -> String {
        format!("{}/{}/orders", route.prefix(), station.token)
    }

    /// A request of the usual caller, without a key.
    pub(crate) fn request(&self, method: &str, target: &str) -> Request {
        Request::new(method, target)
            .with("Host", self.layer.instances[0].endpoint.authority())
            .with("Authorization", ALICE)
    }

    /// The usual operation: POST with the usual payload, without a key.
    pub(crate) fn post(&self, route: Route) -> Request {
        self.request("POST", &self.path(route))
            .with("Content-Type", "application/json")
            .body(PAYLOAD)
    }

    /// The usual operation with a fresh key.
    pub(crate) fn keyed(&self, route: Route) -> Request {
        self.post(route).key(&self.key())
    }

    /// Sends on a connection of its own; no answer at all fails the case. Of two instances each has
    /// its turn, so that a retry meets the one that knows nothing of the first request.
    pub(crate) async fn send(&self, request: &Request) -> Result<Answer, Stop> {
        self.send_to(self.turn(), request).await
    }

    /// Whose turn it is.
    fn turn(&self) -> usize {
        match self.alternates {
            true => self.turns.fetch_add(1, Ordering::Relaxed) % self.layer.instances.len(),
            false => 0,
        }
    }

    /// Sends to one of two instances.
    pub(crate) async fn send_to(&self, instance: usize, request: &Request) -> Result<Answer, Stop> {
        self.try_send(instance, request)
            .await
            .map_err(|error| Stop::Fail(format!("{}: {error}", request.describe())))
    }

    /// Sends and hands over whatever happened.
    pub(crate) async fn try_send(
        &self,
        instance: usize,
        request: &Request,
    ) -> Result<Answer, WireError> {
        let mut wire = self.open_at(instance).await?;
        wire.send(request).await;
        wire.read(&request.method).await
    }

    /// Opens a connection, of two instances to each in turn.
    pub(crate) async fn open(&self) -> Result<Wire, Stop> {
        self.open_at(self.turn()).await.map_err(|error| Stop::Fail(error.to_string()))
    }

    pub(crate) async fn open_at(&self, instance: usize) -> Result<Wire, WireError> {
        Wire::open(&self.instance(instance).endpoint, self.log.clone()).await
    }

    pub(crate) fn instance(&self, number: usize) -> &Instance {
        &self.layer.instances[number.min(self.layer.instances.len() - 1)]
    }

    /// Opens an HTTP/2 connection.
    pub(crate) async fn open2(&self) -> Result<Connection2, Stop> {
        Connection2::open(&self.instance(0).endpoint)
            .await
            .map_err(|error| Stop::Fail(error.to_string()))
    }

    /// Sends over HTTP/2.
    pub(crate) async fn send2(
        &self,
        connection: &Connection2,
        request: &Request,
    ) -> Result<Answer, Stop> {
        self.log.sent(format!("HTTP/2 {}", request.describe()));
        match connection.exchange(request, ANSWER_LIMIT).await {
            Ok(answer) => {
                self.log.came(answer.describe());
                Ok(answer)
            }
            Err(error) => {
                self.log.came(error.to_string());
                Err(Stop::Fail(format!("HTTP/2 {}: {error}", request.describe())))
            }
        }
    }

    /// Sends again and again while the layer says that the operation still runs, and hands over
    /// the first other answer.
    pub(crate) async fn send_until_settled(&self, request: &Request) -> Result<Answer, Stop> {
        self.send_until_settled_at(self.turn(), request).await
    }

    pub(crate) async fn send_until_settled_at(
        &self,
        instance: usize,
        request: &Request,
    ) -> Result<Answer, Stop> {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(15);
        loop {
            let answer = self.send_to(instance, request).await?;
            let running = answer.still_busy();
            if !running || tokio::time::Instant::now() > deadline {
                return Ok(answer);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Sends all at once, each on a connection of its own, and hands over what came, in order.
    pub(crate) async fn send_all(&self, requests: &[Request]) -> Result<Vec<Answer>, Stop> {
        let sent = requests
            .iter()
            .enumerate()
            .map(|(at, request)| self.send_to(at % self.layer.instances.len(), request));
        futures_util::future::try_join_all(sent).await
    }

    /// Waits until the upstream has so many complete requests. When it does not get them, the layer's
    /// short lease may have been over before it could send; the case is judged again.
    pub(crate) async fn arrived(&self, count: usize) -> Result<(), Stop> {
        match self.station.wait_count(count, ARRIVAL_LIMIT).await {
            true => Ok(()),
            false => Err(Stop::Late(format!(
                "the upstream was to see {count} request(s) and saw {} within {} s",
                self.station.count(),
                ARRIVAL_LIMIT.as_secs()
            ))),
        }
    }

    /// Judges how often the upstream was reached.
    pub(crate) fn count(&self, expected: usize, when: &str) -> Result<(), Stop> {
        match self.station.count() {
            count if count == expected => Ok(()),
            count => Err(Stop::Fail(format!(
                "the upstream received {count} request(s) instead of {expected} {when}"
            ))),
        }
    }

    /// Judges that the upstream was not reached more often than this, which no delay excuses.
    pub(crate) fn at_most(&self, limit: usize, when: &str) -> Result<(), Stop> {
        match self.station.count() {
            count if count <= limit => Ok(()),
            count => Err(Stop::Fail(format!(
                "the upstream received {count} request(s) and not {limit} at most {when}"
            ))),
        }
    }

    /// Lets nothing at the upstream wait for this case any longer.
    pub(crate) fn finish(&self) {
        self.station.open_gates();
        for station in lock(&self.further).iter() {
            station.open_gates();
        }
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.finish();
    }
}
