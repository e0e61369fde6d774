//! The thread that all connections of a store live on.
//!
//! A connection's socket belongs to the runtime that made it and is dead with it. A gateway has one
//! runtime for each core and ends them one by one when it drains, while the last settlements may still
//! be sent from any other. So no connection is made on a caller's runtime: they live on this one, which
//! ends when the store does, and callers hand their commands over and await the answers wherever they
//! are. It costs two wake-ups for each operation, and lets all cores share a few connections.

use std::io;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A runtime on a thread of its own. Dropping it ends the thread soon, and with it whatever runs there.
#[derive(Debug)]
pub(crate) struct Driver {
    handle: Handle,
    _stop: oneshot::Sender<()>,
}

impl Driver {
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        std::thread::Builder::new().name("hapax-redis".to_owned()).spawn(move || {
            // It is never sent: it is over when the sender is dropped.
            let _dropped = runtime.block_on(stopped);
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, _stop: stop })
    }

    pub(crate) const fn handle(&self) -> &Handle {
        &self.handle
    }

    pub(crate) fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.handle.spawn(task)
    }
}
