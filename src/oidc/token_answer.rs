//! The answer of a provider to the browser, and that of its token endpoint (RFC 6749).

use zeroize::Zeroizing;

use super::claims::text_claim;
use super::json::object;
use super::refusal::ProviderRefusal;

/// The longest code or token that is read.
const MOST_BYTES: usize = 8 * 1024;

/// What a provider sent to the browser, with the parameters that are read.
pub(crate) struct ProviderAnswer {
    pub(crate) state: String,
    pub(crate) issuer: Option<String>,
    pub(crate) result: Result<Zeroizing<String>, String>,
}

impl ProviderAnswer {
    /// Reads the parameters. One that is there twice is refused, because the browser or a proxy could believe another one
    /// (RFC 6749, section 3.1).
    pub(crate) fn read(parameters: &[(String, String)]) -> Result<Self, ProviderRefusal> {
        let only = |name: &str| {
            let mut values = parameters.iter().filter(|(known, _)| known == name);
            match (values.next(), values.next()) {
                (None, _) => Ok(None),
                (Some((_, value)), None) if (1..=MOST_BYTES).contains(&value.len()) => {
                    Ok(Some(value.clone()))
                }
                _ => Err(ProviderRefusal::Answer),
            }
        };
        let state = only("state")?.ok_or(ProviderRefusal::Answer)?;
        let result = match (only("code")?, only("error")?) {
            (Some(code), None) => Ok(Zeroizing::new(code)),
            (None, Some(error)) => Err(error),
            _ => return Err(ProviderRefusal::Answer),
        };
        Ok(Self { state, issuer: only("iss")?, result })
    }
}

/// What a token endpoint answered.
pub(crate) struct TokenAnswer {
    pub(crate) access_token: Zeroizing<String>,
    pub(crate) id_token: Option<Zeroizing<String>>,
    pub(crate) refresh_token: Option<Zeroizing<String>>,
    /// How long the access token is valid, in seconds.
    pub(crate) expires_in: Option<u64>,
}

impl TokenAnswer {
    pub(crate) fn read(status: u16, body: &[u8]) -> Result<Self, ProviderRefusal> {
        let unreadable = ProviderRefusal::TokenAnswer;
        let answer = object(body);
        // GitHub answers an error with 200.
        if let Some(error) = answer.as_ref().and_then(|answer| answer.get("error")) {
            let of_client =
                ["invalid_client", "unauthorized_client", "incorrect_client_credentials"];
            let is_of_client = error.as_str().is_some_and(|error| of_client.contains(&error));
            return Err(if is_of_client { ProviderRefusal::Client } else { ProviderRefusal::Code });
        }
        let answer = answer.filter(|_| status == 200).ok_or(unreadable)?;
        let text = |name: &str| match answer.get(name) {
            None | Some(serde_json::Value::Null) => Ok(None),
            Some(serde_json::Value::String(text)) if (1..=MOST_BYTES).contains(&text.len()) => {
                Ok(Some(Zeroizing::new(text.clone())))
            }
            Some(_) => Err(unreadable),
        };
        let kind = text_claim(&answer, "token_type").map_err(|_| unreadable)?;
        if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
            return Err(unreadable);
        }
        // It has a limit of its own.
        let id_token = match answer.get("id_token") {
            None | Some(serde_json::Value::Null) => None,
            Some(serde_json::Value::String(token)) if !token.is_empty() => {
                Some(Zeroizing::new(token.clone()))
            }
            Some(_) => return Err(unreadable),
        };
        let access_token = text("access_token")?.ok_or(unreadable)?;
        // It goes into a header.
        if !access_token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(unreadable);
        }
        Ok(Self {
            access_token,
            id_token,
            refresh_token: text("refresh_token")?,
            expires_in: answer.get("expires_in").and_then(serde_json::Value::as_u64),
        })
    }
}
