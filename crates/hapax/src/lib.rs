//! hapax.
