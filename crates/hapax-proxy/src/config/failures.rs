//! What becomes of a key when the upstream answers with a failure: the `failures` setting.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::setting::{Seed, Setting, choice};

/// A preset and the statuses that depart from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failures {
    /// What holds for statuses the table does not name.
    pub preset: Preset,
    /// What the table says, in the order of [`StatusMatch`]: single statuses before classes.
    pub per_status: Vec<(StatusMatch, Verdict)>,
}

/// A named failure policy (semantics, ruling 2 and section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// Any 5xx frees the key.
    Retry5xx,
    /// 2xx, 3xx and 4xx are kept but for the refusals; complete 5xx free the key; 502, 504 and
    /// lost answers are outcome unknown.
    Standard,
    /// Every complete answer is kept.
    StoreAll,
    /// As `Standard`, but complete 5xx are kept, and a 503 without `Retry-After` is unknown.
    Strict,
    /// Only 2xx is kept, everything else that is complete frees the key.
    SuccessOnly,
}

/// What one status does to its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The key is free again: a retry runs.
    Free,
    /// The answer is kept and replayed.
    Keep,
    /// Nobody knows whether the effect took place.
    Unknown,
}

/// Which statuses a line of the table means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatusMatch {
    /// One status from 200 to 599: `"503"`.
    Code(u16),
    /// A hundred of them, by its first digit from 2 to 5: `"5xx"`.
    Class(u8),
}

impl Failures {
    /// What the table says of `status`, if anything: a single status wins over its class.
    pub fn verdict(&self, status: u16) -> Option<Verdict> {
        self.per_status.iter().find(|(of, _)| of.contains(status)).map(|(_, verdict)| *verdict)
    }
}

impl From<Preset> for Failures {
    fn from(preset: Preset) -> Self {
        Self { preset, per_status: Vec::new() }
    }
}

impl StatusMatch {
    /// Whether the line speaks of `status`.
    pub fn contains(self, status: u16) -> bool {
        match self {
            Self::Code(code) => code == status,
            Self::Class(class) => u16::from(class) == status / 100,
        }
    }

    fn read(text: &str) -> Option<Self> {
        if let Some(class) = text.strip_suffix("xx") {
            return class.parse().ok().filter(|class| (2..=5).contains(class)).map(Self::Class);
        }
        let code = text.parse().ok().filter(|code| (200..600).contains(code))?;
        (text.len() == 3).then_some(Self::Code(code))
    }
}

impl Setting for Preset {
    const MEND: &'static str = "write \"standard\", \"strict\", \"store-all\", \"retry-5xx\" or \
         \"success-only\", or a table such as { preset = \"standard\", \"500\" = \"keep\" }";

    fn read(text: &str) -> Result<Self, String> {
        choice(
            text,
            &[
                ("retry-5xx", Self::Retry5xx),
                ("standard", Self::Standard),
                ("store-all", Self::StoreAll),
                ("strict", Self::Strict),
                ("success-only", Self::SuccessOnly),
            ],
        )
    }
}

impl Setting for Verdict {
    const MEND: &'static str = "write \"keep\", \"free\" or \"unknown\"";

    fn read(text: &str) -> Result<Self, String> {
        choice(text, &[("free", Self::Free), ("keep", Self::Keep), ("unknown", Self::Unknown)])
    }
}

impl<'de> Deserialize<'de> for Failures {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PresetOrTable)
    }
}

struct PresetOrTable;

impl<'de> Visitor<'de> for PresetOrTable {
    type Value = Failures;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "has the wrong type; {}", Preset::MEND)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<Failures, A::Error> {
        let mut failures = Failures::from(Preset::Standard);
        while let Some(key) = table.next_key::<String>()? {
            if key == "preset" {
                failures.preset = table.next_value_seed(Seed(PhantomData))?;
                continue;
            }
            let Some(statuses) = StatusMatch::read(&key) else {
                return Err(A::Error::custom(format!(
                    "has {key:?}, which is neither \"preset\" nor a status; \
                     write a status such as \"503\" or a class such as \"5xx\""
                )));
            };
            failures.per_status.push((statuses, table.next_value_seed(Seed(PhantomData))?));
        }
        failures.per_status.sort_unstable_by_key(|(statuses, _)| *statuses);
        Ok(failures)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Failures, E> {
        Preset::read(text)
            .map(Failures::from)
            .map_err(|problem| E::custom(format!("{problem}; {}", Preset::MEND)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fai_a_single_status_wins_over_its_class() {
        let failures: Failures =
            toml::from_str("preset = \"strict\"\n\"5xx\" = \"free\"\n\"503\" = \"unknown\"")
                .unwrap();
        assert_eq!(failures.preset, Preset::Strict);
        assert_eq!(failures.verdict(503), Some(Verdict::Unknown));
        assert_eq!(failures.verdict(500), Some(Verdict::Free));
        assert_eq!(failures.verdict(404), None);
    }

    #[test]
    fn a_table_without_preset_starts_from_standard() {
        let failures: Failures = toml::from_str("\"4xx\" = \"free\"").unwrap();
        assert_eq!(failures.preset, Preset::Standard);
        assert_eq!(failures.verdict(404), Some(Verdict::Free));
    }

    #[test]
    fn only_final_statuses_and_their_classes_are_keys() {
        for key in ["100", "600", "5x", "1xx", "6xx", "0503", "+50", "xx", "", "50000"] {
            assert_eq!(StatusMatch::read(key), None, "{key}");
        }
        assert_eq!(StatusMatch::read("200"), Some(StatusMatch::Code(200)));
        assert_eq!(StatusMatch::read("5xx"), Some(StatusMatch::Class(5)));
    }
}
