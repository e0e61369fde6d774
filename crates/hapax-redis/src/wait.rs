//! Waiting for replicas, or for the disk, after each step, where that is asked for.

use hapax::StoreError;
use redis::{Pipeline, Value};
use tokio::time::Instant;

use crate::error::Outage;
use crate::line::remaining;
use crate::options::RedisOptions;
use crate::reply::damaged;

/// What is waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Wait {
    pub(crate) fsync: bool,
    pub(crate) replicas: u32,
}

impl Wait {
    pub(crate) const fn of(options: &RedisOptions) -> Self {
        Self { fsync: options.wait_fsync, replicas: options.wait_replicas }
    }

    pub(crate) const fn is_asked_for(self) -> bool {
        self.fsync || self.replicas > 0
    }

    /// Lets a step wait, in the same round trip; answers whether it does.
    ///
    /// The wait covers everything that the server had done until the step's own write, or, before
    /// version 7.2, until its end. A step that waits and only shows what stands therefore writes
    /// something too (`touch`), so that a repetition waits for what the first try wrote, and a
    /// duplicate for what it is shown.
    pub(crate) fn add_to(self, commands: &mut Pipeline, deadline: Instant) -> bool {
        // The rest of the time is for the answer's way back.
        let limit = (remaining(deadline).mul_f64(0.8)).as_millis().max(1);
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        if self.fsync {
            commands.cmd("WAITAOF").arg(1).arg(self.replicas).arg(limit);
        } else if self.replicas > 0 {
            commands.cmd("WAIT").arg(self.replicas).arg(limit);
        }
        self.is_asked_for()
    }

    /// What the wait came to.
    pub(crate) fn judge(self, answer: &Value) -> Result<(), StoreError> {
        let (on_disk, acknowledged) = match answer {
            Value::Int(replicas) => (true, *replicas),
            Value::Array(both) => match both.as_slice() {
                [Value::Int(here), Value::Int(replicas)] => (*here >= 1, *replicas),
                _ => return Err(StoreError::unknown(damaged("WAITAOF counts nothing"))),
            },
            Value::ServerError(error) => return Err(StoreError::unknown(error.to_string())),
            _ => return Err(StoreError::unknown(damaged("WAIT counts nothing"))),
        };
        let acknowledged = u64::try_from(acknowledged).unwrap_or(0);
        if acknowledged < u64::from(self.replicas) {
            let wanted = self.replicas;
            let with_disk = if self.fsync { " on their disks" } else { "" };
            return Err(StoreError::unknown(Outage::Replicas { acknowledged, wanted, with_disk }));
        }
        if on_disk { Ok(()) } else { Err(StoreError::unknown(Outage::NotOnDisk)) }
    }
}
