//! Providers: sign-in with Google, Microsoft, Apple, GitHub, GitLab, or a server of your own.
//!
//! [`federation`](crate::federation) is the manual: what is checked, and what a sign-in is worth. This page has what you
//! enter at each provider, and what your pages need.
//!
//! # At the provider
//!
//! Register a web application there. Enter the callback, which is the public address of your routes, then
//! `/oauth/{name}/callback`:
//!
//! | provider | callback, with routes below `/auth` | in the service |
//! |---|---|---|
//! | Google | `https://example.com/auth/oauth/google/callback` | `Provider::google(id, secret)` |
//! | Microsoft Entra | `https://example.com/auth/oauth/microsoft/callback` | `Provider::microsoft(tenant_id, id, secret)` |
//! | Apple | `https://example.com/auth/oauth/apple/callback` | `Provider::apple(id, AppleKey::new(team, key_id, pem))` |
//! | GitHub | `https://example.com/auth/oauth/github/callback` | `Provider::github(id, secret)` |
//! | GitLab | `https://example.com/auth/oauth/gitlab/callback` | `Provider::gitlab("https://gitlab.com", id, secret)` |
//! | any other with OpenID Connect | `https://example.com/auth/oauth/company/callback` | `Provider::openid("company", issuer, id, secret)` |
//! | any other with OAuth 2.0 | `https://example.com/auth/oauth/shop/callback` | `Provider::oauth2("shop", endpoints, id, secret)` |
//!
//! An issuer is a URL, and `{issuer}/.well-known/openid-configuration` is its discovery document. Enter it exactly as the
//! document writes it, with or without the slash at the end. Never change the issuer of a provider that people use: the
//! identities belong to it.
//!
//! # The service
//!
//! ```
//! # #[cfg(all(feature = "federation", feature = "routes"))]
//! # fn example(db: sea_orm::DatabaseConnection, secret: portcullis::Secret)
//! # -> Result<axum::Router, Box<dyn std::error::Error>> {
//! use portcullis::config::{MailTrust, Provider, ProviderPolicy, TwoFactors};
//! use portcullis::{Portcullis, federation};
//!
//! let google = Provider::google(std::env::var("GOOGLE_ID")?, std::env::var("GOOGLE_SECRET")?);
//! let issuer = "https://login.example.com";
//! let company = Provider::openid("company", issuer, "shop", std::env::var("COMPANY_SECRET")?)
//!     .label("Example Inc.")
//!     // Its administrators create all addresses at this domain.
//!     .mail(MailTrust::Domains(vec!["example.com".to_owned()]))
//!     .policy(ProviderPolicy::Automatic)
//!     // It asks for a second factor, and says so.
//!     .counts_as_two_when(TwoFactors::amr(["mfa"]));
//! let auth = Portcullis::builder(db)
//!     .secret(secret)
//!     .public_url("https://example.com")
//!     .provider(google)
//!     .provider(company)
//!     .build()?;
//! let routes = auth.routes().merge(federation::routes(&auth));
//! # Ok(axum::Router::new().nest("/auth", routes))
//! # }
//! ```
//!
//! # The button
//!
//! A button is a link: `<a href="/auth/oauth/google?next=/start">Sign in with Google</a>`. With `remember=false` the session ends
//! with the browser. `GET /methods` lists the providers for a page with a script, and `auth.federation().providers()` for
//! pages from the server. Use a link and not a form: the policy `form-action 'self'` stops a form whose answer leads to another site.
//!
//! Set [`service.unauthenticated`](crate::config::ServiceConfig::unauthenticated) to a login page. Then the browser comes
//! back to a page in every case: to `next`, to the [page of the next step](crate::page), or to the login page with `?error=` and a code.
//! Without a login page it comes to `/` instead. If the person is
//! signed in, a refusal leads back to `next`, with `?error=`. A client that is no browser gets JSON.
//!
//! | code | what to tell the person |
//! |---|---|
//! | `provider_cancelled` | nothing: they changed their mind |
//! | `account_exists` | you have an account with this address: sign in as before, then link the provider |
//! | `identity_not_linked` | sign in another way, then link the provider |
//! | `verified_address_needed` | register with an address, then link the provider |
//! | `provider_flow_ended` | try again. This also happens with the Back button, or with two windows of one browser |
//! | `provider_unavailable` | the provider does not answer: try again later, or sign in another way |
//!
//! # The page that asks
//!
//! After a sign-in with `OnRequest`, the browser comes to the login page with `?result=identity_pending`. After linking it comes to the page
//! named in `next`, with the same parameter.
//! Show the name, the provider and the address from `GET /pending-identity`, and post the decision with the `id`:
//!
//! ```html
//! <p>Link jane@example.com at Google to your account?</p>
//! <form method="post" action="/auth/pending-identity/link">
//!   <input type="hidden" name="id" value="…"><button>Link</button>
//! </form>
//! <form method="post" action="/auth/pending-identity/discard">
//!   <input type="hidden" name="id" value="…"><button>Do not link</button>
//! </form>
//! ```
//!
//! The example `providers` has all of these pages. Its provider runs in the same program, so it needs no account anywhere.
//!
//! # For which addresses a provider is trusted
//!
//! If a person can make a trusted provider state an address, they get the account with this address. Only accounts with
//! a second factor, and superusers, are protected. So
//! trust a provider only for addresses that it controls:
//!
//! | provider | default | reason |
//! |---|---|---|
//! | Google | `gmail.com`, and the domain of a Workspace | Google hosts these mailboxes. Other addresses were checked once, and the owner may have changed |
//! | Apple | `icloud.com`, `me.com`, `mac.com`, and relayed addresses | Apple hosts these mailboxes |
//! | Microsoft | none | an administrator of any tenant can enter any address. `MailTrust::Claim("xms_edov".into())` trusts those whose domain the tenant has proved |
//! | GitHub, GitLab, others | none | an address was checked once, maybe years ago |
//!
//! # Only the people of one company
//!
//! Google tells the domain of a Workspace in the claim `hd`. The parameter only chooses what the page of Google
//! shows, so also require the claim:
//!
//! ```
//! use portcullis::config::Provider;
//!
//! let google = Provider::google("id", "secret")
//!     .parameter("hd", "example.com")
//!     .requires_claim("hd", "example.com");
//! ```
//!
//! Decide by other claims, such as groups, in the hook [`before_provider`](crate::hook::Hooks::before_provider).
//!
//! # If it does not work
//!
//! | what you see | cause |
//! |---|---|
//! | the provider says that the redirect URI is wrong | the callback that is registered there is another one: compare scheme, host, port, path and name. The service takes scheme and host from `service.public_url` |
//! | 503 `provider_unavailable` | the log has a warning "a provider cannot be asked" with the reason, for example a private address |
//! | 403 `provider_not_accepted` | the detail says which check failed. "signed with another algorithm": see [`Provider::algorithm`](crate::config::Provider::algorithm). "names another issuer": write the issuer as the discovery document does |
//! | 403 `provider_flow_ended` right after the first sign-in | the callback has another host than the page with the button, so the cookie is missing; or `cookie.secure` does not fit a page on http |
//! | sessions go on after people sign out at the provider | the log has a warning "an answer of a provider was not accepted": for example, its logout tokens do not have the type `logout+jwt` |
//! | everybody gets an account without an address | the provider is not trusted for it: see above |
//! | the second factor is not asked for | [`counts_as_two_when`](crate::config::Provider::counts_as_two_when) matches |
