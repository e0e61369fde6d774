//! hapax-proxy.
