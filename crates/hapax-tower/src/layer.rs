//! The layer: what is shared by all clones of a service.

use std::sync::Arc;

use hapax::{Clock, Guard, Secret, SystemClock};
use tower_layer::Layer;

use crate::rules::Rules;
use crate::service::Idempotency;

/// Puts [`Idempotency`] around services. Cheap to clone.
#[derive(Clone, Debug)]
#[must_use]
pub struct IdempotencyLayer(Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) guard: Guard,
    pub(crate) rules: Rules,
    pub(crate) secret: Secret,
}

impl IdempotencyLayer {
    /// A layer that runs operations through `guard`, names records with `secret`, and does what
    /// `rules` say.
    ///
    /// Programs that share a store must share the secret as well: it belongs to the store.
    pub fn new(guard: Guard, secret: Secret, rules: Rules) -> Self {
        Self(Arc::new(Shared { clock: Arc::new(SystemClock), guard, rules, secret }))
    }

    /// The guard, to drain it when the program stops.
    #[must_use]
    pub fn guard(&self) -> &Guard {
        &self.0.guard
    }

    /// The rules.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.0.rules
    }
}

impl<S> Layer<S> for IdempotencyLayer {
    type Service = Idempotency<S>;

    fn layer(&self, inner: S) -> Idempotency<S> {
        Idempotency::new(Arc::clone(&self.0), inner)
    }
}
