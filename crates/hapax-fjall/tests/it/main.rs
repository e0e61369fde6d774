//! The embedded store against a real disk: what is kept, what is refused, what is survived.

mod steps;
mod support;
