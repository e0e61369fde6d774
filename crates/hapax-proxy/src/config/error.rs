//! What is wrong with the settings, said so that it can be mended.

use std::fmt;

/// One thing wrong with the settings: a sentence that names the setting, its value (never a
/// secret) and the mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct ConfigError {
    setting: String,
    sentence: String,
}

impl ConfigError {
    /// `complaint` goes on where the setting and its value end: `is not a duration; write ...`.
    pub(super) fn new(
        file: Option<&str>,
        setting: &str,
        value: Option<&str>,
        complaint: &str,
    ) -> Self {
        let file = file.map(|name| format!("{name}: ")).unwrap_or_default();
        let value = value.map(|value| format!(" = {value}")).unwrap_or_default();
        let sentence = format!("{file}{setting}{value} {complaint}");
        Self { setting: setting.to_owned(), sentence }
    }

    /// Where it stands: a path in the file such as `route[2].failures."5xx"`, a flag or a variable.
    pub fn setting(&self) -> &str {
        &self.setting
    }
}

/// Everything found wrong with the settings in one reading, in the order of the file; never empty.
///
/// Shown one sentence to a line. The process ends with [`ConfigErrors::EXIT_CODE`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// `EX_CONFIG` of sysexits: the settings are at fault.
    pub const EXIT_CODE: u8 = 78;

    /// Fails when anything was found.
    pub(super) fn check(found: Vec<ConfigError>) -> Result<(), Self> {
        if found.is_empty() { Ok(()) } else { Err(Self(found)) }
    }

    /// The errors one by one.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            let newline = if i == 0 { "" } else { "\n" };
            write!(f, "{newline}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
