//! What handlers and the layer say to each other beside the messages.
//!
//! A handler finds its [`hapax::Attempt`] in the request's extensions: the lease, child keys for the
//! calls it makes, and a place to keep finished steps.

/// Put by a handler into its response's extensions when it has settled the lease itself, in the
/// transaction of its own effect: the layer then settles nothing (M10).
#[derive(Clone, Copy, Debug)]
pub struct Settled;
