//! The basis of the tests: real databases, a real HTTP server and client, and a clock that the test
//! moves.

use std::time::Duration;

pub mod browser;
pub mod call;
pub mod chromium;
pub mod database;
pub mod fault;
pub mod locks;
pub mod log;
pub mod probe;
pub mod program;
pub mod proxy;
pub mod smtp;

pub use browser::Browser;
pub use database::{Backend, Database};
pub use probe::{PASSWORD, Probe};

/// Runs each test on SQLite, PostgreSQL and MariaDB. If the URL of a database is not set, its tests
/// are ignored. If another requirement of the tests is missing, all of them are ignored.
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
/// A single test states its requirements with [`needs`](portcullis_test_needs::needs).
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

/// Waits until another task has done something, for one minute at most. The time counts and not the
/// number of checks, because the task may not run for a while on a busy machine.
///
/// # Panics
/// Panics after that minute, and names what it waited for.
pub async fn until(what: &str, there: impl AsyncFn() -> bool) {
    let looking = async {
        while !there().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let limit = Duration::from_secs(60);
    tokio::time::timeout(limit, looking).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Returns the value of a variable, unless it is empty or not set.
#[expect(clippy::disallowed_methods, reason = "the tests are told where the servers are")]
pub fn given(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}

/// Returns the value of a variable that a test requires.
///
/// # Panics
/// Panics if it is not set, because a test that cannot run must not pass.
pub fn needed(variable: &str) -> String {
    given(variable).unwrap_or_else(|| {
        panic!("{variable} is not set; mark the test with #[needs(\"{variable}\")]")
    })
}
