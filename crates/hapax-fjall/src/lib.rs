//! hapax-fjall.
