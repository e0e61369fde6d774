//! `${NAME}` inside a string stands for an environment variable.

use toml::Value;

/// Why a string could not be filled in; the message goes on from the setting and its text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SubstituteError {
    #[error("names the variable {0}, which is not set; set it or change the setting")]
    Missing(String),
    #[error(
        "has \"${{\" without a variable name and \"}}\"; write it like \"${{HAPAX_SECRET}}\", \
         or \"$${{\" for the characters themselves"
    )]
    Unclosed,
}

/// The text with its variables filled in. `$${` is a literal `${`; a lone `$` is itself.
pub(super) fn text(
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<String, SubstituteError> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, opened) = rest.split_at(at);
        let after = &opened[2..];
        if let Some(before) = before.strip_suffix('$') {
            filled.push_str(before);
            filled.push_str("${");
            rest = after;
            continue;
        }
        filled.push_str(before);
        let (name, after) = after.split_once('}').ok_or(SubstituteError::Unclosed)?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(SubstituteError::Unclosed);
        }
        filled.push_str(&env(name).ok_or_else(|| SubstituteError::Missing(name.to_owned()))?);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

/// Whether the text has a variable in it, so that what it becomes may be a secret.
pub(super) fn is_substituted(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("${"),
        Value::Array(values) => values.iter().any(is_substituted),
        Value::Table(table) => table.values().any(is_substituted),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        (name == "NAME").then(|| "value".to_owned())
    }

    #[test]
    fn variables_are_filled_in_once() {
        for (written, filled) in [
            ("plain", "plain"),
            ("${NAME}", "value"),
            ("a-${NAME}-${NAME}", "a-value-value"),
            ("$NAME $", "$NAME $"),
            ("$${NAME}", "${NAME}"),
            ("$", "$"),
        ] {
            assert_eq!(text(written, &env).unwrap(), filled, "{written}");
        }
        assert_eq!(text("${NAME}", &|_| Some("${NAME}".to_owned())).unwrap(), "${NAME}");
    }

    #[test]
    fn unknown_and_unclosed_variables_are_refused() {
        assert_eq!(text("${OTHER}", &env), Err(SubstituteError::Missing("OTHER".to_owned())));
        for written in ["${", "${NAME", "${}", "${NA ME}", "x${\u{e9}}"] {
            assert_eq!(text(written, &env), Err(SubstituteError::Unclosed), "{written}");
        }
    }
}
