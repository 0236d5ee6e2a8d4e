//! Signing in with a provider of OpenID Connect or OAuth 2.0, such as Google, GitHub or your company. Feature `federation`.
//!
//! The guide page [`providers`](crate::guide::providers) shows how to add each provider, and the pages. This page says
//! what is checked, and what a sign-in is worth.
//!
//! # Three lines
//!
//! ```
//! # #[cfg(all(feature = "federation", feature = "routes"))]
//! # fn example(db: sea_orm::DatabaseConnection, secret: portcullis::Secret)
//! # -> Result<axum::Router, Box<dyn std::error::Error>> {
//! use portcullis::{Portcullis, config::Provider, federation};
//!
//! let auth = Portcullis::builder(db)
//!     .secret(secret)
//!     .public_url("https://example.com")
//!     .provider(Provider::google("client id", "client secret"))
//!     .build()?;
//! let routes = auth.routes().merge(federation::routes(&auth));
//! # Ok(axum::Router::new().nest("/auth", routes))
//! # }
//! ```
//!
//! Register `https://example.com/auth/oauth/google/callback` at the provider, and link to `/auth/oauth/google?next=/start`.
//!
//! # How a sign-in goes
//!
//! 1. The browser opens `GET /oauth/{provider}`, and is sent to the provider. It gets a cookie, `__Host-session-oauth`.
//! 2. The person signs in there. The provider sends the browser back to `/oauth/{provider}/callback` with a code.
//! 3. The service exchanges the code, checks the ID token, and signs the person in.
//!
//! Each start is a row for one browser, one purpose and one provider. The first answer deletes it, so no answer works
//! twice. The code is bound to this browser: PKCE (S256) and the nonce are derived from its cookie, and the service keeps
//! neither. Each provider has its own callback, and an answer that names another issuer (`iss`, RFC 9207) is refused.
//!
//! # Who gets an account
//!
//! An identity is the pair of issuer and subject (`sub`). A mail address never identifies anybody.
//! If no account has the identity, the [policy](crate::config::ProviderPolicy) of the provider decides:
//!
//! | policy | what happens |
//! |---|---|
//! | `Automatic` (default) | if the provider is trusted for the mail address, and one account has proved the same address, the identity is linked to that account, and its owner gets a mail. Otherwise there is a new account |
//! | `Open` | a new account, or 409 `account_exists` if an account has proved the same trusted address |
//! | `OnRequest` | the person is [asked](#the-person-is-asked) |
//! | `Closed` | 403 `identity_not_linked`: only signed-in people can link it |
//!
//! - Your word decides for which addresses a provider is trusted: [`MailTrust`](crate::config::MailTrust). The
//!   address of a provider that is not trusted for it is only shown. It is not stored in the account and not used to find
//!   one. Such an account has no name, and its owner can [add an address](crate::contact).
//! - Accounts with a second factor, and superusers, are never linked by a mail address. The answer is
//!   409 `account_exists`: the owner signs in another way and links the identity.
//! - If an account has the address, and nobody has proved it, the person gets that account, as after a
//!   [verification](crate::verification): everything that its creator has set, also the password, is removed first. With `OnRequest` this does not happen, and the
//!   answer is 409 `account_exists`.
//! - If the service has closed its registration, or needs a verified address, no provider changes that.
//!
//! # What it is worth
//!
//! A sign-in proves [`Factor::Provider`](crate::Factor::Provider): one factor, at the time that the provider states
//! (`auth_time`). Many providers do not state it. Then the sign-in is not recent, except if the account has no other way in and
//! no second factor. An account with a second factor is asked for it.
//!
//! If you trust a provider to have asked for two factors, use
//! [`counts_as_two_when`](crate::config::Provider::counts_as_two_when). Then the sign-in proves
//! [`Factor::ProviderTwoFactors`](crate::Factor::ProviderTwoFactors), and no second factor is asked for. A claim that the
//! provider does not sign never counts.
//!
//! A [step-up](crate::StepUp) opens `GET /oauth/{provider}?intent=step_up&next=/page`. The provider is told to ask again
//! (`max_age=0`). If it did not ask, or does not say when it asked, the answer is 403 `provider_did_not_ask`. GitHub
//! and other providers without ID tokens never say it. The clock of the provider may be at most 10 s behind.
//!
//! # Linking
//!
//! A signed-in person with a recent factor opens `GET /oauth/{provider}?intent=link&next=/page`. Afterwards the page asks
//! for a confirmation. So nobody can make a browser link an identity that its owner does not know.
//!
//! `GET /oauth` lists the identities, and `DELETE /oauth/{provider}` unlinks one. To unlink needs a recent
//! factor, and the account must keep another way in: a password, a verified address, a passkey that signs in alone, or
//! another identity. Linking and unlinking end all other sessions, and the owner gets a mail. A change of the
//! mail address that is undone, an undone second factor and a [recovery](crate::account_recovery) unlink what was linked since. A new
//! password alone unlinks nothing, so look at the list afterwards.
//!
//! # The person is asked
//!
//! After the callback, `GET /pending-identity` shows the identity: its `id`, name and address. Show them in the page.
//!
//! | decision | request |
//! |---|---|
//! | get an account | `POST /pending-identity/register` with `id`, and `username` if you want |
//! | link it to the account that is signed in | `POST /pending-identity/link` with `id` |
//! | neither | `POST /pending-identity/discard` with `id` |
//!
//! All of them take JSON or a form. The decision belongs to the browser, and is possible for 10 minutes.
//! `links: true` means that the owner of a session has begun to link it. It cannot become an account.
//!
//! # Tokens of the provider
//!
//! Its tokens are forgotten after the sign-in. If your application calls the provider, use
//! [`keep_tokens`](crate::config::Provider::keep_tokens). Then they are stored, encrypted, and
//! [`auth.provider_tokens(account, "google")`](crate::Portcullis::provider_tokens) returns them.
//! [`auth.refresh_provider_tokens(..)`](crate::Portcullis::refresh_provider_tokens) refreshes them: of several requests at once,
//! one asks the provider, because a provider ends all tokens if one refresh token is used twice. No route returns them.
//! If you remove an old secret of the service, tokens that are stored under it cannot be opened any more. The next
//! sign-in stores new ones.
//!
//! # The provider signs people out
//!
//! Register `/oauth/{provider}/backchannel-logout` at the provider (OpenID Connect Back-Channel Logout 1.0). It ends
//! the sessions that the identity began. A logout token works once, and must have the type `logout+jwt`.
//!
//! # What is asked, and when
//!
//! A provider is asked by the service itself, with [`ProviderClient`]. It uses https, does not follow redirects,
//! has a time limit of 5 s, reads at most 64 KiB, and never connects to a private address. It checks the address to which it
//! really connects. A provider in your own network needs
//! [`danger_private_addresses`](crate::config::Provider::danger_private_addresses). With
//! [`Builder::provider_http`](crate::Builder::provider_http) your own client asks instead.
//!
//! Endpoints and keys are kept for an hour. A token with an unknown key makes the service read the keys again, at most once
//! in five minutes. If a provider does not answer, the old keys are used, and only its own sign-ins may fail (503
//! `provider_unavailable`).
//!
//! # A sign-in in your own handler
//!
//! [`auth.federation()`](crate::Portcullis::federation) has each step as a method: [`start`](Federation::start),
//! [`finish`](Federation::finish), [`link`](Federation::link), and so on. The hook
//! [`before_provider`](crate::hook::Hooks::before_provider) can refuse, and sees the claims that the provider told.

use std::sync::Arc;

use crate::config::Provider;
use crate::handle::Builder;
use crate::port::ProviderHttp;

mod browser;
mod client;
pub(crate) mod entity;
mod error;
mod exchange;
mod flow;
mod handle;
mod keys;
mod link;
mod logout;
mod pending;
mod remote;
#[cfg(feature = "routes")]
mod routes;
mod sign_in;
mod step_up;
pub(crate) mod store;
mod tokens;

pub use crate::oidc::ProviderRefusal;
pub use browser::ProviderBrowser;
pub use client::ProviderClient;
pub use error::FederationError;
pub use flow::{ProviderFailure, ProviderFinish, ProviderOutcome, ProviderReturn, ProviderStart};
pub use handle::Federation;
pub use link::ProviderIdentity;
pub use pending::{PendingIdentity, ProviderRegistration};
#[cfg(feature = "routes")]
pub use routes::routes;
pub use tokens::ProviderTokens;

use remote::Asking;

impl Builder {
    /// Adds a provider with which people sign in. See [`federation`](crate::federation).
    pub fn provider(self, provider: Provider) -> Self {
        self.configure(|config| config.federation.providers.push(provider))
    }

    /// Sets what asks providers, instead of [`ProviderClient`].
    pub fn provider_http(mut self, http: impl ProviderHttp) -> Self {
        self.state::<Asking>().own = Some(Arc::new(http));
        self
    }
}
