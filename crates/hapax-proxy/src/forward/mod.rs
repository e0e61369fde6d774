//! What a gateway owes the messages that it passes on (RFC 9110, 7.6).
//!
//! [`check_request`] refuses what must not be passed on, [`hygiene`] takes off what belongs to one hop and
//! says where a request came from, and [`pass_through`] carries unprotected traffic untouched (ruling 6).

mod check;
pub mod hygiene;
mod pass;
mod tunnel;

pub use self::check::{Malformed, RequestLimits, check_request, effective_host};
pub use self::hygiene::ForwardConfig;
pub use self::pass::{ForwardError, pass_through};

#[cfg(test)]
mod tests;
