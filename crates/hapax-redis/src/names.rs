//! What the store's keys are called.

use hapax::RecordId;

use crate::error::OpenError;

const PREFIX_BYTES_MAX: usize = 40;

/// The names that begin with one prefix.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    prefix: String,
}

impl Names {
    /// Only what means nothing in a pattern or to a cluster.
    pub(crate) fn new(prefix: &str) -> Result<Self, OpenError> {
        let legal = !prefix.is_empty()
            && prefix.len() <= PREFIX_BYTES_MAX
            && prefix.chars().all(|c| c.is_ascii_alphanumeric() || "_-.:".contains(c));
        let prefix = prefix.to_owned();
        if legal { Ok(Self { prefix }) } else { Err(OpenError::Prefix { prefix }) }
    }

    /// A record's. The braces make the id alone decide where in a cluster it is.
    pub(crate) fn record(&self, id: &RecordId) -> String {
        format!("{}:{{{id}}}", self.prefix)
    }

    /// Whose records these are.
    pub(crate) fn identity(&self) -> String {
        format!("{}:identity", self.prefix)
    }

    /// Nothing is ever there: to read the clock by.
    pub(crate) fn clock(&self) -> String {
        format!("{}:clock", self.prefix)
    }

    /// Where it is told what was settled; messages know no databases.
    pub(crate) fn channel(&self) -> String {
        format!("{}:settled", self.prefix)
    }

    /// The pattern of all records, or those whose ids begin so.
    pub(crate) fn pattern(&self, head: &str) -> String {
        format!("{}:{{{head}*", self.prefix)
    }

    /// The record of that name.
    pub(crate) fn id_of(&self, key: &[u8]) -> Option<RecordId> {
        let rest = std::str::from_utf8(key).ok()?.strip_prefix(&self.prefix)?;
        RecordId::parse(rest.strip_prefix(":{")?.strip_suffix('}')?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots::slot_of;

    #[test]
    fn prefixes_are_plain() {
        for legal in ["hapax", "a:b", "A-1_x.y"] {
            assert!(Names::new(legal).is_ok(), "{legal}");
        }
        for illegal in ["", "a*", "a{", "a b", "a?", "[a]", &"a".repeat(41)] {
            assert!(Names::new(illegal).is_err(), "{illegal}");
        }
    }

    #[test]
    fn records_are_found_by_their_names() {
        let names = Names::new("hapax").unwrap();
        let id = RecordId::from_bytes([0xab; 32]);
        let key = names.record(&id);
        assert_eq!(names.id_of(key.as_bytes()), Some(id));
        assert_eq!(names.id_of(names.identity().as_bytes()), None);
        assert_eq!(Names::new("hap").unwrap().id_of(key.as_bytes()), None);
        assert_eq!(slot_of(&key), slot_of(&id.to_string()));
    }
}
