//! hapax-tower.
