//! How one value of the file becomes a type: read from text, or refused with the mend.

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

use super::units;

/// A type that one setting can hold.
///
/// Numbers and booleans arrive as text too, so that `"${WORKERS}"` may stand for a number.
pub(super) trait Setting: Sized {
    /// What to write instead; every refusal ends with it.
    const MEND: &'static str;

    /// The value, or what is wrong with the text, to be read after it: "is not a duration".
    fn read(text: &str) -> Result<Self, String>;
}

/// For `#[serde(deserialize_with)]`: one value.
pub(super) fn setting<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Setting,
{
    Seed(PhantomData).deserialize(deserializer)
}

/// For `#[serde(default, deserialize_with)]`: a value that may be left out.
pub(super) fn optional<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Setting,
{
    setting(deserializer).map(Some)
}

/// For `#[serde(deserialize_with)]`: a list of values.
pub(super) fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Setting,
{
    deserializer.deserialize_any(List(PhantomData))
}

/// Reads one value inside a list or a table.
pub(super) struct Seed<T>(pub(super) PhantomData<T>);

impl<'de, T: Setting> DeserializeSeed<'de> for Seed<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Setting> Visitor<'de> for Seed<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::MEND)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<T, E> {
        self.visit_str(if value { "true" } else { "false" })
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<T, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<T, A::Error> {
        Err(not_single::<T, A::Error>())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<T, A::Error> {
        Err(not_single::<T, A::Error>())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::read(text).map_err(|problem| E::custom(format!("{problem}; {}", T::MEND)))
    }
}

fn not_single<T: Setting, E: Error>() -> E {
    E::custom(format!("is not a single value; {}", T::MEND))
}

struct List<T>(PhantomData<T>);

impl<'de, T: Setting> Visitor<'de> for List<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is not a list; put the values between [ and ]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Vec<T>, A::Error> {
        let mut read = Vec::new();
        while let Some(value) = values.next_element_seed(Seed(PhantomData))? {
            read.push(value);
        }
        Ok(read)
    }
}

/// Reads a word out of a fixed choice.
pub(super) fn choice<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    words
        .iter()
        .find(|(word, _)| *word == text)
        .map(|(_, value)| *value)
        .ok_or_else(|| "is not one of the choices".to_owned())
}

impl Setting for bool {
    const MEND: &'static str = "write true or false";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "is neither true nor false".to_owned())
    }
}

impl Setting for Duration {
    const MEND: &'static str =
        "write whole numbers with a unit, such as \"500ms\", \"10s\", \"24h\" or \"7d\"";

    fn read(text: &str) -> Result<Self, String> {
        units::duration(text).ok_or_else(|| "is not a duration".to_owned())
    }
}

impl Setting for SocketAddr {
    const MEND: &'static str =
        "write an IP address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"";

    fn read(text: &str) -> Result<Self, String> {
        let numeric = text
            .strip_prefix("localhost:")
            .map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
        numeric.parse().map_err(|_| "is not an address to listen on".to_owned())
    }
}

impl Setting for String {
    const MEND: &'static str = "write some text";

    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("is empty".to_owned()) } else { Ok(text.to_owned()) }
    }
}

impl Setting for u32 {
    const MEND: &'static str = "write a whole number above 0";

    fn read(text: &str) -> Result<Self, String> {
        count(text)
    }
}

impl Setting for u64 {
    const MEND: &'static str = "write a whole number above 0";

    fn read(text: &str) -> Result<Self, String> {
        count(text)
    }
}

impl Setting for usize {
    const MEND: &'static str = "write a whole number above 0";

    fn read(text: &str) -> Result<Self, String> {
        count(text)
    }
}

/// Every count is a limit, and a limit of nothing is a way to say "off" that we do not have.
fn count<T: std::str::FromStr + PartialEq + Default>(text: &str) -> Result<T, String> {
    match text.parse::<T>() {
        Ok(number) if number == T::default() => Err("would allow nothing".to_owned()),
        Ok(number) => Ok(number),
        Err(_) => Err("is not a count".to_owned()),
    }
}

/// A number of bytes held in memory at once for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size(pub(super) usize);

impl Size {
    /// A body of this size would be held in memory as a whole.
    const BYTES_MAX: u64 = 1 << 30;
}

impl Setting for Size {
    const MEND: &'static str =
        "write a size between 1 byte and 1GiB, such as \"64KiB\", \"1MiB\" or 65536";

    fn read(text: &str) -> Result<Self, String> {
        match units::size(text) {
            None => Err("is not a size".to_owned()),
            Some(0) => Err("would allow nothing".to_owned()),
            Some(bytes) if bytes > Self::BYTES_MAX => Err("is too large to hold".to_owned()),
            Some(bytes) => usize::try_from(bytes).map(Self).map_err(|e| e.to_string()),
        }
    }
}

/// For `#[serde(deserialize_with)]`: a [`Size`] as plain bytes.
pub(super) fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    setting::<D, Size>(deserializer).map(|size| size.0)
}

/// How many threads serve: `auto` follows the processors the process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// One for each processor the process may use.
    Auto,
    /// Exactly so many.
    Count(NonZeroUsize),
}

impl Setting for Threads {
    const MEND: &'static str = "write \"auto\" or a whole number from 1 to 1024";

    fn read(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        match text.parse::<NonZeroUsize>() {
            Ok(number) if number.get() <= 1024 => Ok(Self::Count(number)),
            Ok(_) => Err("is too many".to_owned()),
            Err(_) => Err("is not a number of threads".to_owned()),
        }
    }
}
