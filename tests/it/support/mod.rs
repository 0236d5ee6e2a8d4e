//! What the tests stand on: real databases, a real HTTP server and client, a clock that is moved.

use std::time::Duration;

pub mod browser;
pub mod call;
pub mod chromium;
pub mod database;
pub mod fault;
pub mod log;
pub mod probe;
pub mod smtp;

pub use browser::Browser;
pub use database::{Backend, Database};
pub use probe::{PASSWORD, Probe};

/// Runs each test on SQLite, PostgreSQL and MariaDB. Where the URL of a database is not set, its
/// tests are ignored. So are all of them where something else is missing that they say they need.
///
/// ```ignore
/// on_every_database! {
///     async fn a_right_password_signs_in(probe: Probe) { .. }
/// }
/// on_every_database! {
///     needs("PORTCULLIS_TEST_REDIS_URL");
///     async fn two_nodes_count_together(probe: Probe) { .. }
/// }
/// ```
///
/// A test of its own says it with [`needs`](portcullis_test_needs::needs).
#[macro_export]
macro_rules! on_every_database {
    (needs($need:tt); $($(#[$meta:meta])* async fn $name:ident($probe:ident: Probe) $body:block)+) => {
        $( $crate::on_every_database! { @ [$need]; $(#[$meta])* async fn $name($probe: Probe) $body } )+
    };
    ($($(#[$meta:meta])* async fn $name:ident($probe:ident: Probe) $body:block)+) => {
        $( $crate::on_every_database! { @ []; $(#[$meta])* async fn $name($probe: Probe) $body } )+
    };
    (@ [$($need:tt)*]; $(#[$meta:meta])* async fn $name:ident($probe:ident: Probe) $body:block) => {
        $(#[$meta])*
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            async fn run($probe: $crate::support::Probe) $body

            #[::portcullis_test_needs::needs($($need)*)]
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                $crate::support::probe::run($crate::support::Backend::Sqlite, run).await;
            }

            #[::portcullis_test_needs::needs("PORTCULLIS_TEST_POSTGRES_URL" $($need)*)]
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                $crate::support::probe::run($crate::support::Backend::Postgres, run).await;
            }

            #[::portcullis_test_needs::needs("PORTCULLIS_TEST_MYSQL_URL" $($need)*)]
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn mysql() {
                $crate::support::probe::run($crate::support::Backend::MySql, run).await;
            }
        }
    };
}

/// Waits for what another task brings about, for no longer than a minute: on a busy machine that task
/// may not have had a turn for a while, so what counts is time and not how often it was looked at.
///
/// # Panics
/// Panics after that minute, with what was waited for.
pub async fn until(what: &str, there: impl AsyncFn() -> bool) {
    let looking = async {
        while !there().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let limit = Duration::from_secs(60);
    tokio::time::timeout(limit, looking).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// A variable that says where something is which a test says it needs.
///
/// # Panics
/// Panics where it is not set: a test that cannot run never passes.
#[expect(clippy::disallowed_methods, reason = "the tests are told where the servers are")]
pub fn needed(variable: &str) -> String {
    let value = std::env::var(variable).ok().filter(|value| !value.is_empty());
    value.unwrap_or_else(|| {
        panic!("{variable} is not set; mark the test with #[needs(\"{variable}\")]")
    })
}
