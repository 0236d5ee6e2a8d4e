//! Request fields with an invalid value, in a form that a page can translate.
//!
//! ```json
//! {"code": "invalid_fields", "status": 422, "errors": {"password": [
//!     {"code": "too_short", "params": {"min": 15}, "message": "must have at least 15 characters"}]}}
//! ```
//!
//! [`guide::errors`](crate::guide::errors) lists the codes.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::problem::Problem;

/// The maximum length of a name that an owner gives to something, in characters.
const MAX_LABEL: usize = 64;

/// One reason why the value of a field is invalid. A field may have several.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidField {
    /// The name of the field.
    pub field: &'static str,
    /// The reason: a stable code in `snake_case`.
    pub code: &'static str,
    /// The values that a translation needs, such as `min` of `too_short`.
    pub params: Map<String, Value>,
    /// The reason in English. Its subject is the field: "must have at least 15 characters".
    pub message: String,
}

impl InvalidField {
    /// Creates a reason for a field. Never put the value that was typed into the message, because
    /// messages are logged.
    #[must_use]
    pub fn new(field: &'static str, code: &'static str, message: impl Into<String>) -> Self {
        Self { field, code, params: Map::new(), message: message.into() }
    }

    /// Adds a value that a translation needs.
    #[must_use]
    pub fn param(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.params.insert(name.to_owned(), value.into());
        self
    }

    /// Returns a name that its owner gives to something, without the white space around it.
    pub(crate) fn label(typed: &str) -> Result<String, Self> {
        let name = typed.trim();
        if name.is_empty() {
            Err(InvalidField::new("name", "required", "must not be empty"))
        } else if name.chars().count() > MAX_LABEL {
            Err(InvalidField::new("name", "too_long", "must have at most 64 characters"))
        } else if name.chars().any(char::is_control) {
            Err(InvalidField::new(
                "name",
                "invalid_character",
                "must not contain control characters",
            ))
        } else {
            Ok(name.to_owned())
        }
    }

    /// Returns the `errors` member of a problem: a list of reasons for each field.
    pub(crate) fn members(fields: &[Self]) -> Map<String, Value> {
        let mut errors = Map::new();
        for Self { field, code, params, message } in fields {
            let reason = json!({ "code": code, "params": params, "message": message });
            let reasons = errors.entry(*field).or_insert_with(|| Value::Array(Vec::new()));
            reasons.as_array_mut().expect("each entry was made as a list").push(reason);
        }
        Map::from_iter([("errors".to_owned(), errors.into())])
    }
}

/// The answer 422 `invalid_fields`, for a handler or a hook of the application:
///
/// ```
/// use portcullis::{InvalidField, InvalidFields, Refusal};
///
/// let field = InvalidField::new("profile", "too_young", "is for adults").param("min", 18);
/// let refusal = Refusal::of(InvalidFields(vec![field]));
/// # assert_eq!(refusal.problem().code(), "invalid_fields");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("some fields are not valid")]
pub struct InvalidFields(pub Vec<InvalidField>);

impl Problem for InvalidFields {
    fn status(&self) -> StatusCode {
        StatusCode::UNPROCESSABLE_ENTITY
    }

    fn code(&self) -> &'static str {
        "invalid_fields"
    }

    fn members(&self) -> Map<String, Value> {
        InvalidField::members(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reasons_of_one_field_stand_in_one_list_in_their_order() {
        let fields = [
            InvalidField::new("b", "too_short", "is too short").param("min", 8),
            InvalidField::new("a", "required", "is required"),
            InvalidField::new("b", "common", "is common"),
        ];
        let expected = json!({ "errors": {
            "a": [{ "code": "required", "params": {}, "message": "is required" }],
            "b": [
                { "code": "too_short", "params": { "min": 8 }, "message": "is too short" },
                { "code": "common", "params": {}, "message": "is common" },
            ],
        }});
        assert_eq!(Value::Object(InvalidField::members(&fields)), expected);
        assert_eq!(Value::Object(InvalidField::members(&[])), json!({ "errors": {} }));
    }
}
