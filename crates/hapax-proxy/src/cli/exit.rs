//! How the process ends (sysexits where they fit).

/// Done, or stopped cleanly.
pub const OK: u8 = 0;
/// It ran, and the answer is no: a record is not there, or may not be changed.
pub const REFUSED: u8 = 1;
/// The command line is at fault (`EX_USAGE`).
pub const USAGE: u8 = 64;
/// A needed service is not there (`EX_UNAVAILABLE`).
pub const UNAVAILABLE: u8 = 69;
/// The settings are at fault (`EX_CONFIG`).
pub const CONFIG: u8 = 78;
