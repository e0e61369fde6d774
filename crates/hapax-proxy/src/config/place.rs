//! Where in the file a setting stands: `route[2].failures."5xx"`.

use std::fmt;

use toml::{Table, Value};

/// The way from the top of the file to one value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Place(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Index(usize),
    Key(String),
}

impl Place {
    /// The top of the file.
    pub(super) fn top() -> Self {
        Self::default()
    }

    /// The setting `key` of the table that stands here.
    pub(super) fn key(&self, key: &str) -> Self {
        self.then(Step::Key(key.to_owned()))
    }

    /// The entry of the list that stands here, the first being 0.
    pub(super) fn index(&self, index: usize) -> Self {
        self.then(Step::Index(index))
    }

    /// Further down by what a deserializer followed.
    pub(super) fn follow(&self, path: &serde_path_to_error::Path) -> Self {
        use serde_path_to_error::Segment;
        path.iter().fold(self.clone(), |place, segment| match segment {
            Segment::Seq { index } => place.index(*index),
            Segment::Map { key } => place.key(key),
            Segment::Enum { .. } | Segment::Unknown => place,
        })
    }

    /// What stands here in `table`, if anything.
    pub(super) fn look_up<'a>(&self, table: &'a Table) -> Option<&'a Value> {
        let mut steps = self.0.iter();
        let Some(Step::Key(first)) = steps.next() else { return None };
        steps.try_fold(table.get(first)?, |value, step| match step {
            Step::Index(index) => value.get(*index),
            Step::Key(key) => value.get(key),
        })
    }

    fn then(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    let dot = if i == 0 { "" } else { "." };
                    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
                    if key.starts_with(|c: char| c.is_ascii_alphabetic()) && key.chars().all(plain)
                    {
                        write!(f, "{dot}{key}")?;
                    } else {
                        write!(f, "{dot}{key:?}")?;
                    }
                }
            }
        }
        Ok(())
    }
}
