//! The store's time (ruling 19).

use std::sync::Arc;
use std::time::Duration;

use hapax::{Clock, Timestamp};

/// A difference between wall time and the store's own at opening that people should hear of.
const JUMP_WARNED: Duration = Duration::from_secs(3600);

/// Starts at the larger of wall time at open and the highest time on disk, and is moved by a clock
/// that never steps. Steps of wall time while the store is open are not seen.
#[derive(Debug)]
pub(crate) struct StoreClock {
    base: Timestamp,
    clock: Arc<dyn Clock>,
    origin: Duration,
}

impl StoreClock {
    /// Starts the store's time; `highest` is the highest time on disk, `None` in a new store.
    pub(crate) fn start(clock: Arc<dyn Clock>, highest: Option<Timestamp>) -> Self {
        let wall = clock.now();
        let origin = clock.elapsed();
        if let Some(highest) = highest {
            warn_of_jump(wall, highest);
        }
        // One microsecond on, so that no two times of the store's life are told to be the same.
        let floor = highest.map_or(Timestamp::EPOCH, |at| at.plus(Duration::from_micros(1)));
        Self { base: wall.max(floor), clock, origin }
    }

    /// The store's time; never steps back.
    pub(crate) fn now(&self) -> Timestamp {
        self.base.plus(self.clock.elapsed().saturating_sub(self.origin))
    }
}

fn warn_of_jump(wall: Timestamp, highest: Timestamp) {
    if highest.since(wall) > JUMP_WARNED {
        let seconds = highest.since(wall).as_secs();
        tracing::warn!(
            seconds,
            "the wall clock is behind the store's last write; the store goes on from that write, so \
             its records expire later than the wall clock says"
        );
    } else if wall.since(highest) > JUMP_WARNED {
        let seconds = wall.since(highest).as_secs();
        tracing::warn!(
            seconds,
            "the wall clock is ahead of the store's last write; if the store was not closed for so \
             long, the clock has jumped and records expire early"
        );
    }
}

#[cfg(test)]
mod tests {
    use hapax::ManualClock;

    use super::*;

    #[test]
    fn ruling_19_time_starts_at_the_higher_of_wall_and_disk_and_ignores_steps() {
        let wall = Timestamp::from_micros(1_000_000_000);
        let clock = Arc::new(ManualClock::new(wall));
        let ahead = wall.plus(Duration::from_secs(10));
        assert!(StoreClock::start(clock.clone(), Some(ahead)).now() > ahead);

        let store = StoreClock::start(clock.clone(), None);
        assert_eq!(store.now(), wall);
        clock.step_to(Timestamp::EPOCH);
        clock.advance(Duration::from_secs(3));
        assert_eq!(store.now(), wall.plus(Duration::from_secs(3)));
    }
}
