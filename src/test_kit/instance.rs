//! An instance for tests, in one call.

use sea_orm::DatabaseConnection;

use super::StatementCounter;
use crate::base::clock::MockClock;
use crate::base::secret::Secret;
use crate::config::Delivery;
use crate::handle::{Builder, Portcullis};
use crate::message::RecordingNotifier;

/// An instance for tests, with everything that a test needs to control or to read.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use portcullis::test_kit::TestInstance;
/// use portcullis_migration::{Migrator, MigratorTrait};
///
/// let mut options = sea_orm::ConnectOptions::new("sqlite::memory:");
/// options.max_connections(1); // each connection would have a memory of its own
/// let db = sea_orm::Database::connect(options).await?;
/// Migrator::up(&db, None).await?;
/// let TestInstance { auth, clock, .. } = TestInstance::new(db);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct TestInstance {
    /// The instance.
    pub auth: Portcullis,
    /// Its clock, which stands still until the test moves it.
    pub clock: MockClock,
    /// The delivered messages. What the flows put into the outbox appears here after
    /// `auth.outbox().deliver_due()`.
    pub notifier: RecordingNotifier,
    /// The statements that were sent through [`db`](Self::db).
    pub statements: StatementCounter,
    /// The connection, whose statements are counted.
    pub db: DatabaseConnection,
}

impl TestInstance {
    /// Makes an instance on a migrated database, with a new secret and cheap password hashing.
    ///
    /// # Panics
    /// Never with the defaults; see [`with`](Self::with).
    pub fn new(db: DatabaseConnection) -> Self {
        Self::with(db, |builder| builder)
    }

    /// Does the same with a configuration, for example the one of your service.
    ///
    /// # Panics
    /// If the configuration is wrong. The message names every fault.
    #[track_caller]
    pub fn with(mut db: DatabaseConnection, build: impl FnOnce(Builder) -> Builder) -> Self {
        let statements = StatementCounter::install(&mut db);
        let clock = MockClock::default();
        let notifier = RecordingNotifier::default();
        let builder = Portcullis::builder(db.clone())
            .clock(clock.clone())
            .notifier(notifier.clone())
            .secret(Secret::generate())
            .configure(|config| {
                config.mail.link_origin = Some("https://app.example.com".to_owned());
                // Messages are delivered only when the test asks for it. So a test counts only the
                // statements that it means to count.
                config.mail.delivery = Delivery::ByApplication;
                config.password.danger_cheap_hashing = true;
                config.password.memory_kib = 8;
                config.password.iterations = 1;
            });
        match build(builder).build() {
            Ok(auth) => Self { auth, clock, notifier, statements, db },
            Err(errors) => panic!("the configuration is wrong: {errors}"),
        }
    }
}
