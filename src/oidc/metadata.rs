//! Discovery documents (OpenID Connect Discovery 1.0, RFC 8414).

use serde_json::{Map, Value};

use super::json::object;
use super::refusal::ProviderRefusal;
use crate::config::federation::is_provider_url;

/// The endpoints of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) authorization: String,
    pub(crate) token: String,
    pub(crate) userinfo: Option<String>,
    pub(crate) key_set: String,
    /// True if its answers to browsers name the issuer (RFC 9207).
    pub(crate) names_issuer: bool,
}

/// Returns where the discovery document of an issuer is.
pub(crate) fn discovery_url(issuer: &str) -> String {
    format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))
}

impl Metadata {
    /// Reads the document of this issuer. It must name exactly this issuer. Otherwise its provider could claim to be
    /// another one.
    pub(crate) fn read(
        body: &[u8],
        issuer: &str,
        private_addresses: bool,
    ) -> Result<Self, ProviderRefusal> {
        let document = object(body).ok_or(ProviderRefusal::Metadata)?;
        if document.get("issuer") != Some(&Value::from(issuer)) {
            return Err(ProviderRefusal::MetadataIssuer);
        }
        let url = |name: &str| endpoint(&document, name, private_addresses);
        let needed = |name: &str| url(name)?.ok_or(ProviderRefusal::Endpoint);
        let names_issuer = match document.get("authorization_response_iss_parameter_supported") {
            None => false,
            Some(Value::Bool(names)) => *names,
            Some(_) => return Err(ProviderRefusal::Metadata),
        };
        Ok(Self {
            authorization: needed("authorization_endpoint")?,
            token: needed("token_endpoint")?,
            userinfo: url("userinfo_endpoint")?,
            key_set: needed("jwks_uri")?,
            names_issuer,
        })
    }
}

fn endpoint(
    document: &Map<String, Value>,
    name: &str,
    private_addresses: bool,
) -> Result<Option<String>, ProviderRefusal> {
    match document.get(name) {
        None => Ok(None),
        Some(Value::String(url)) if is_provider_url(url, private_addresses) => {
            Ok(Some(url.clone()))
        }
        Some(_) => Err(ProviderRefusal::Endpoint),
    }
}
