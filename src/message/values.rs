//! The values for a template.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The length limit for a value, in characters, so that nobody can send a long text of their own in
/// another person's mail.
pub(crate) const MAX_CHARS: usize = 500;

/// Names and texts. They may be codes and links, so they are never printed, and the outbox seals
/// them.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Values(BTreeMap<String, String>);

impl Values {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a value. Line breaks, control characters and invisible characters become spaces. So a
    /// value cannot start a new line or a header.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        let text = value.to_string();
        let text = text.chars().take(MAX_CHARS).map(|c| if hides(c) { ' ' } else { c }).collect();
        self.0.insert(name.to_owned(), text);
        self
    }

    /// Adds a value, if there is one.
    #[must_use]
    pub(crate) fn with_some(self, name: &str, value: Option<impl fmt::Display>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Sets an empty text for each name that has no value.
    pub(crate) fn fill(&mut self, names: &[&str]) {
        for name in names {
            self.0.entry((*name).to_owned()).or_default();
        }
    }
}

/// Returns true if a character is invisible, or changes how its neighbours look.
fn hides(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{ad}')
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_one_visible_line_and_never_printed() {
        let values = Values::new()
            .with("name", "a\r\nBcc: b@example.com\u{202e}\u{2028}\0é")
            .with("long", "x".repeat(10_000))
            .with_some("none", None::<&str>);
        assert_eq!(values.0["name"], "a  Bcc: b@example.com   é");
        assert_eq!(values.0["long"].len(), MAX_CHARS);
        assert!(!values.0.contains_key("none"));
        assert_eq!(format!("{values:?}"), "{\"long\", \"name\"}");
    }
}
