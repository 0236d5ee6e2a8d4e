//! The handle of this capability: from which browser and in which session somebody asks.

use http::HeaderMap;

use super::browser::Browser;
use crate::config::Provider;
use crate::handle::Portcullis;
use crate::identity::AuthError;
use crate::identity::request_identity::RequestIdentity;
use crate::identity::resolution::Resolved;

/// Signs people in with providers. See the [module page](crate::federation).
#[derive(Debug, Clone)]
pub struct Federation<'a> {
    pub(super) auth: &'a Portcullis,
    pub(super) browser: Option<Browser>,
    pub(super) before: Option<Resolved>,
}

impl Portcullis {
    /// Returns the flows that sign in with providers, and that link and unlink identities.
    pub fn federation(&self) -> Federation<'_> {
        Federation { auth: self, browser: None, before: None }
    }
}

impl Federation<'_> {
    /// Sets the session of the request. A sign-in replaces it, and a link or a step-up belongs to it. In your own handler,
    /// pass the extensions of its request.
    ///
    /// # Errors
    /// The layer is missing, another site sent the request, or there is an outage.
    pub async fn replacing(mut self, extensions: &http::Extensions) -> Result<Self, AuthError> {
        self.before = Some(RequestIdentity::of(extensions)?.replaced().await?.clone());
        Ok(self)
    }

    /// Identifies the browser by the cookie of its request.
    #[must_use]
    pub fn with_cookie(mut self, headers: &HeaderMap) -> Self {
        self.browser = Browser::shown(self.auth.context(), headers);
        self
    }

    /// Returns the providers with which people can sign in, for the buttons of a page.
    pub fn providers(&self) -> impl Iterator<Item = &Provider> {
        let all = self.auth.context().config.federation.providers.iter();
        all.filter(|provider| provider.can_sign_in())
    }
}
