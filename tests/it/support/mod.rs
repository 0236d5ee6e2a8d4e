//! What the tests stand on: real databases, a real HTTP server and client, a clock that is moved.

pub mod browser;
pub mod call;
pub mod database;
pub mod log;
pub mod probe;
pub mod smtp;

pub use browser::Browser;
pub use database::{Backend, Database};
pub use probe::{PASSWORD, Probe};

/// Runs each test on SQLite, PostgreSQL and MariaDB. A database whose URL is not set is left out
/// and that is said aloud.
///
/// ```ignore
/// on_every_database! {
///     async fn a_right_password_signs_in(probe: Probe) { .. }
/// }
/// ```
#[macro_export]
macro_rules! on_every_database {
    ($($(#[$meta:meta])* async fn $name:ident($probe:ident: Probe) $body:block)+) => { $(
        $(#[$meta])*
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            async fn run($probe: $crate::support::Probe) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                $crate::support::probe::run($crate::support::Backend::Sqlite, run).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                $crate::support::probe::run($crate::support::Backend::Postgres, run).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn mysql() {
                $crate::support::probe::run($crate::support::Backend::MySql, run).await;
            }
        }
    )+ };
}
