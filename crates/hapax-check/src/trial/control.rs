//! Power over the layer's process, for cases that crash it.

use std::time::Duration;

use super::Trial;
use crate::case::Stop;

impl Trial {
    /// Kills an instance with SIGKILL.
    pub(crate) async fn kill(&self, instance: usize) -> Result<(), Stop> {
        self.log.note(format!("kill -9 of instance {}", instance + 1));
        self.process(instance)?.lock().await.kill().await;
        Ok(())
    }

    /// Starts an instance again; a layer that does not come back fails the case.
    pub(crate) async fn start(&self, instance: usize) -> Result<(), Stop> {
        self.log.note(format!("start of instance {}", instance + 1));
        self.process(instance)?.lock().await.start().await.map_err(Stop::Fail)
    }

    pub(crate) async fn terminate(&self, instance: usize) -> Result<(), Stop> {
        self.log.note(format!("SIGTERM to instance {}", instance + 1));
        self.process(instance)?.lock().await.terminate();
        Ok(())
    }

    /// Waits until an instance ended by itself; its exit code.
    pub(crate) async fn wait_end(
        &self,
        instance: usize,
        within: Duration,
    ) -> Result<Option<i32>, Stop> {
        let ended = self.process(instance)?.lock().await.wait_end(within).await;
        ended.ok_or_else(|| {
            Stop::Fail(format!("the layer still runs {} s after SIGTERM", within.as_secs()))
        })
    }

    pub(crate) async fn pause(&self, instance: usize) -> Result<(), Stop> {
        self.log.note(format!("SIGSTOP to instance {}", instance + 1));
        self.process(instance)?.lock().await.pause();
        Ok(())
    }

    pub(crate) async fn resume(&self, instance: usize) -> Result<(), Stop> {
        self.log.note(format!("SIGCONT to instance {}", instance + 1));
        self.process(instance)?.lock().await.resume();
        Ok(())
    }

    fn process(
        &self,
        instance: usize,
    ) -> Result<&tokio::sync::Mutex<crate::process::Process>, Stop> {
        self.instance(instance)
            .process
            .as_ref()
            .ok_or_else(|| Stop::Skip("the checker did not start the layer".to_owned()))
    }
}
