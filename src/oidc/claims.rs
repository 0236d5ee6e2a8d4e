//! Reading claims by their type. A claim of another type is an error, and not a missing claim.

use serde_json::{Map, Value};

use super::refusal::ProviderRefusal;

/// The longest text of a claim that is read.
const MOST_BYTES: usize = 2048;

/// Returns a text. `None` if there is none.
pub(crate) fn text_claim<'a>(
    claims: &'a Map<String, Value>,
    name: &str,
) -> Result<Option<&'a str>, ProviderRefusal> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if text.len() <= MOST_BYTES => Ok(Some(text)),
        Some(_) => Err(ProviderRefusal::Claim),
    }
}

/// Returns a time in whole seconds.
pub(super) fn time_claim(
    claims: &Map<String, Value>,
    name: &str,
) -> Result<Option<i64>, ProviderRefusal> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    // Some providers write fractions. A time outside of these bounds could overflow later.
    let seconds = value.as_f64().filter(|seconds| (0.0..1e11).contains(seconds));
    #[expect(clippy::cast_possible_truncation, reason = "it is between 0 and 10^11")]
    let seconds = seconds.map(|seconds| seconds.floor() as i64);
    seconds.map(Some).ok_or(ProviderRefusal::Claim)
}

/// Returns a list of texts.
pub(super) fn list_claim(
    claims: &Map<String, Value>,
    name: &str,
) -> Result<Vec<String>, ProviderRefusal> {
    match claims.get(name) {
        None => Ok(Vec::new()),
        Some(Value::Array(values)) if values.len() <= 32 => values
            .iter()
            .map(|value| match value {
                Value::String(text) if text.len() <= MOST_BYTES => Ok(text.clone()),
                _ => Err(ProviderRefusal::Claim),
            })
            .collect(),
        Some(_) => Err(ProviderRefusal::Claim),
    }
}

/// Checks that a token is for this client, and for no other.
pub(super) fn check_audience(
    claims: &Map<String, Value>,
    client_id: &str,
) -> Result<(), ProviderRefusal> {
    let is_ours = match claims.get("aud") {
        Some(Value::String(audience)) => audience == client_id,
        // With another one beside ours, the token could have been made for that client.
        Some(Value::Array(all)) => {
            matches!(all.as_slice(), [Value::String(one)] if one == client_id)
        }
        _ => false,
    };
    if !is_ours {
        return Err(ProviderRefusal::Audience);
    }
    match text_claim(claims, "azp")? {
        Some(party) if party != client_id => Err(ProviderRefusal::Audience),
        _ => Ok(()),
    }
}

/// Returns the subject: 1 to 255 visible characters (OpenID Connect Core, section 2).
pub(super) fn subject(claims: &Map<String, Value>) -> Result<Option<String>, ProviderRefusal> {
    match claims.get("sub") {
        None => Ok(None),
        Some(Value::String(text)) if is_subject(text) => Ok(Some(text.clone())),
        Some(_) => Err(ProviderRefusal::Subject),
    }
}

/// True if a text can identify a person.
pub(super) fn is_subject(text: &str) -> bool {
    (1..=255).contains(&text.len()) && !text.chars().any(char::is_control)
}
