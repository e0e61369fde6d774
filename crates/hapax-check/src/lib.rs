//! hapax-check.
