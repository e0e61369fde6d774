//! Which settings a table may hold, and which one a misspelled name meant.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use serde::forward_to_deserialize_any;

/// The names of the settings that the table `T` takes, in the order in which it declares them:
/// there is no list besides the type.
pub(super) fn settings_of<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    match T::deserialize(Introspection) {
        Err(Fields(fields)) => fields,
        Ok(_) => &[],
    }
}

/// The name out of `known` that `name` was most likely meant to be.
pub(super) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let name = name.replace('-', "_");
    let (distance, nearest) =
        known.iter().map(|known| (distance(&name, known), *known)).min_by_key(|(d, _)| *d)?;
    (distance <= nearest.len().max(name.len()) / 3).then_some(nearest)
}

/// How many letters have to be put in, taken out or changed (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

/// A deserializer that holds nothing and only listens for the fields a struct asks for.
struct Introspection;

#[derive(Debug)]
struct Fields(&'static [&'static str]);

impl<'de> Deserializer<'de> for Introspection {
    type Error = Fields;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Fields> {
        Err(Fields(&[]))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Fields> {
        Err(Fields(fields))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing is read here")
    }
}

impl std::error::Error for Fields {}

impl Error for Fields {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_within_reason() {
        let known = ["listen", "upstream", "store", "store_timeout", "retention"];
        for (written, meant) in [
            ("retension", Some("retention")),
            ("upstrem", Some("upstream")),
            ("store-timeout", Some("store_timeout")),
            ("Listen", Some("listen")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, &known), meant, "{written}");
        }
    }

    #[test]
    fn settings_come_from_the_type() {
        assert_eq!(settings_of::<crate::config::JwtConfig>(), ["jwks", "issuer"]);
    }
}
