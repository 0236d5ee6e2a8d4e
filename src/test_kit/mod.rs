//! Tests of a service, in a few lines and with nothing made up: real sessions in a real database,
//! sent through the real application.
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
//! 1. [`TestInstance::new`] makes an instance on a migrated database: clock that stands still,
//!    recorded notices, cheap hashing, counted statements. An instance made otherwise will do too.
//! 2. [`auth.test()`](Portcullis::test) makes clients: [`nobody`](TestKit::nobody),
//!    [`login_as`](TestKit::login_as) an account, a [`visitor`](TestKit::visitor).
//! 3. A client sends requests into the application, without a network, as a browser would: with
//!    its cookie, which it keeps as answers change it, and saying that they come from a page of the
//!    same origin.
//! 4. [`matrix`](TestKit::matrix) asks the guards of every route of a guarded router about every
//!    role; kept in a file, it shows in a review who may call what, and since when.
//!
//! It does not check passwords: `login_as` signs in whoever it is told. To test that, post to the
//! login route with a client of [`nobody`](TestKit::nobody), which is signed in from then on.
//!
//! Everything here panics instead of failing, with the place of the test.

use crate::account::Account;
use crate::handle::Portcullis;

mod client;
mod instance;
#[cfg(feature = "routes")]
mod matrix;
mod snapshot;
mod statements;

pub use client::{TestAnswer, TestClient, TestLogin, TestRequest};
pub use instance::TestInstance;
#[cfg(feature = "routes")]
pub use matrix::AccessMatrix;
pub use statements::StatementCounter;

/// Clients and checks for tests. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct TestKit<'a> {
    auth: &'a Portcullis,
}

impl Portcullis {
    /// Clients and checks for tests.
    pub fn test(&self) -> TestKit<'_> {
        TestKit { auth: self }
    }
}

impl TestKit<'_> {
    /// A client that is not signed in (yet).
    pub fn nobody(&self) -> TestClient {
        TestClient::nobody(self.auth)
    }

    /// A client that is signed in as this account when it sends its first request. Without
    /// [`with_factors`](TestLogin::with_factors) its session has passed none.
    pub fn login_as(&self, account: &Account) -> TestLogin {
        TestLogin::new(self.auth, account)
    }

    /// A client with an anonymous session.
    pub fn visitor(&self) -> TestClient {
        TestClient::visitor(self.auth)
    }
}
