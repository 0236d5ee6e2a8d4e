//! Tests of your service in a few lines, without mocks: real sessions in a real database, sent
//! through the real application.
//!
//! ```no_run
//! # async fn example(
//! #     auth: portcullis::Portcullis,
//! #     app: axum::Router,
//! #     alice: portcullis::Account,
//! # ) {
//! use std::time::Duration;
//!
//! use portcullis::Factor;
//!
//! let alice = auth.test().login_as(&alice).with_factors([(Factor::Password, Duration::ZERO)]);
//! assert_eq!(alice.get("/admin").send(&app).await.status(), 200);
//! # }
//! ```
//!
//! 1. [`TestInstance::new`] makes an instance on a migrated database. It has a clock that stands
//!    still, recorded messages, cheap password hashing and counted statements. You can also use an
//!    instance that you made in another way.
//! 2. [`auth.test()`](Portcullis::test) makes clients: [`nobody`](TestKit::nobody),
//!    [`login_as`](TestKit::login_as) an account, a [`visitor`](TestKit::visitor).
//! 3. A client sends requests to the application, without a network, like a browser. It sends its
//!    cookie, and updates it as answers say. Its requests say that they come from a page of the
//!    same origin.
//! 4. [`matrix`](TestKit::matrix) checks the guards of every route of a guarded router for every
//!    role. Keep the result in a file: a review then shows who may call what, and what has changed.
//!
//! `login_as` does not check a password. To test passwords, post to the login route with a client
//! of [`nobody`](TestKit::nobody). After that, this client is signed in.
//!
//! Errors are panics with the line of the test.

use crate::account::Account;
use crate::handle::Portcullis;

mod client;
mod instance;
#[cfg(feature = "routes")]
mod matrix;
mod proofs;
mod reading;
mod snapshot;
mod statements;

pub use client::{TestAnswer, TestClient, TestLogin, TestRequest};
pub use instance::TestInstance;
#[cfg(feature = "routes")]
pub use matrix::AccessMatrix;
#[cfg(feature = "passkey")]
#[doc(hidden)]
pub use reading::reads_attestation;
#[cfg(feature = "federation")]
#[doc(hidden)]
pub use reading::reads_provider;
pub use statements::StatementCounter;

/// Makes clients and checks for tests. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct TestKit<'a> {
    auth: &'a Portcullis,
}

impl Portcullis {
    /// Returns clients and checks for tests.
    pub fn test(&self) -> TestKit<'_> {
        TestKit { auth: self }
    }
}

/// From now on, a mounted route panics if it answers with a status or an error code that its
/// [description](crate::guard::RouteDescription) does not name. It is for the tests of portcullis
/// itself: a hook may answer with other codes.
#[cfg(feature = "routes")]
#[doc(hidden)]
pub fn check_route_descriptions() {
    crate::route::be_strict();
}

/// Returns a name for each kind of token, link and code that proves something. It is for the tests of
/// portcullis itself: each kind is presented wherever another one is accepted.
#[doc(hidden)]
#[must_use]
pub fn kinds_of_proofs() -> std::collections::BTreeSet<String> {
    proofs::kinds()
}

impl TestKit<'_> {
    /// Returns a client that is not signed in (yet).
    pub fn nobody(&self) -> TestClient {
        TestClient::nobody(self.auth)
    }

    /// Returns a client that is signed in as this account when it sends its first request. Without
    /// [`with_factors`](TestLogin::with_factors) its session has no proved factor.
    pub fn login_as(&self, account: &Account) -> TestLogin {
        TestLogin::new(self.auth, account)
    }

    /// Returns a client with an anonymous session.
    pub fn visitor(&self) -> TestClient {
        TestClient::visitor(self.auth)
    }
}
