//! The flow.
pub struct Attempt;
pub struct Guard;
pub struct Intent;
pub struct Verdict;
