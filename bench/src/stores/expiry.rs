//! Does it disturb anyone when a million records of a shared store expire under live traffic?

use std::io;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::preload::SPREAD;
use super::{USUAL_CONNECTIONS, WARM_UP};
use crate::backend::Redis;
use crate::candidate::{Candidate, StoreKind};
use crate::expiry::{self, Expiry, SWEPT};
use crate::fleet::Fleet;
use crate::load::{self, Load};

/// Traffic before the first record expires: what the rest is compared with.
pub(super) const BEFORE: Duration = Duration::from_secs(8);

/// Traffic after the first record has expired; the store may remove records for longer.
const AFTER: Duration = Duration::from_secs(26);

/// From the first expiry of one store to that of the next.
pub(super) const WHOLE: Duration = Duration::from_secs(26 + 8 + 4);

/// How often the number of removed records is looked at.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// Measures first runs around the moment `first_expiry`, from which on `records` expire.
pub(super) fn run(
    kind: StoreKind,
    fleet: &Fleet,
    redis: Option<&Redis>,
    records: u64,
    first_expiry: SystemTime,
) -> io::Result<Expiry> {
    let candidate = Candidate::First(kind);
    let Some(server) = fleet.server(candidate) else {
        return Err(io::Error::other(format!("no gateway on {} is there", kind.name())));
    };
    let swept = || match (kind, redis, fleet.admin(kind)) {
        // The server removes them by itself.
        (StoreKind::RedisAlways, Some(redis), _) => {
            redis.number("stats", "expired_keys").map(|keys| keys as u64)
        }
        (_, _, Some(admin)) => expiry::metric(admin, SWEPT),
        (_, _, None) => Err(io::Error::other("the gateway has no admin listener")),
    };
    let ahead = first_expiry.duration_since(SystemTime::now()).unwrap_or_default();
    let expiring = Instant::now() + ahead;
    let from = (Instant::now() + WARM_UP).max(expiring.checked_sub(BEFORE).unwrap_or(expiring));
    eprintln!("measuring first runs while records expire: {}, in {ahead:?}", kind.name());
    crate::measure::wait_until(from.checked_sub(WARM_UP).unwrap_or(from));
    let load = Load {
        address: server.address,
        path: candidate.path(),
        connections: USUAL_CONNECTIONS,
        keys: Fleet::keys(candidate, 0, 1 << 32),
        from,
        until: expiring + AFTER,
    };
    let (before, running) = (swept()?, load::start(&load));
    let mut looks = vec![(Instant::now(), before)];
    while Instant::now() < load.until {
        thread::sleep(LOOK_PAUSE);
        looks.push((Instant::now(), swept()?));
    }
    let seen = running.finish()?;
    let edge = expiring.saturating_duration_since(from).as_secs() as usize;
    let rate = swept_per_second(&looks);
    let swept = looks.last().map(|(_, swept)| swept - before);
    Ok(Expiry::of(kind, records, SPREAD, &seen, edge, swept, rate))
}

/// The pace from the last look at which nothing was removed yet to the last that shows a change.
fn swept_per_second(looks: &[(Instant, u64)]) -> Option<f64> {
    let (_, none) = looks.first()?;
    let (_, all) = looks.last()?;
    let begun = looks.iter().rev().find(|(_, swept)| swept == none)?;
    let ended = looks.iter().find(|(_, swept)| swept == all)?;
    let seconds = ended.0.saturating_duration_since(begun.0).as_secs_f64();
    (seconds > 0.0).then(|| (all - none) as f64 / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_that_of_the_time_in_which_records_go() {
        let start = Instant::now();
        let look = |second, swept| (start + Duration::from_secs(second), swept);
        let looks = [look(0, 5), look(1, 5), look(2, 105), look(3, 205), look(4, 205)];
        assert_eq!(swept_per_second(&looks), Some(100.0));
        assert_eq!(swept_per_second(&looks[..2]), None);
    }
}
