//! Tests of your own service.
//!
//! The feature `test-util`, for tests only, adds a clock that is moved, a notifier that remembers,
//! cheap password hashing, and counters.
//!
//! ```toml
//! [dev-dependencies]
//! portcullis = { version = "0.1", features = ["test-util"] }
//! ```
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! use portcullis::base::clock::MockClock;
//! use portcullis::message::RecordingNotifier;
//! use portcullis::{Portcullis, Secret};
//! use portcullis_migration::{Migrator, MigratorTrait};
//!
//! let mut options = sea_orm::ConnectOptions::new("sqlite::memory:");
//! options.max_connections(1); // each connection would have a memory of its own
//! let db = sea_orm::Database::connect(options).await?;
//! Migrator::up(&db, None).await?;
//!
//! let clock = MockClock::default();
//! let notifier = RecordingNotifier::default();
//! let auth = Portcullis::builder(db)
//!     .secret(Secret::generate())
//!     .clock(clock.clone())
//!     .public_url("https://example.com")
//!     .notifier(notifier.clone())
//!     .configure(|config| {
//!         config.mail.delivery = portcullis::config::Delivery::ByApplication;
//!         config.password.danger_cheap_hashing = true;
//!         config.password.memory_kib = 8;
//!         config.password.iterations = 1;
//!     })
//!     .build()?;
//!
//! // No sleeping: a session is idle for a week.
//! clock.advance(Duration::from_secs(7 * 24 * 60 * 60));
//! auth.outbox().deliver_due().await?; // what the flows have put into the outbox
//! assert!(notifier.sent().is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! # Signed in without a password
//!
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis) -> Result<(), Box<dyn std::error::Error>> {
//! use portcullis::ClientInfo;
//! use portcullis::account::NewAccount;
//!
//! let account = auth.accounts().create(NewAccount::username("alice")).await?;
//! let issued = auth.sessions().start(&account, &ClientInfo::default()).await?;
//! let mut headers = http::HeaderMap::new();
//! issued.apply(&mut headers); // Set-Cookie: __Host-session=…
//! # Ok(())
//! # }
//! ```
//!
//! Send the cookie back with `Sec-Fetch-Site: same-origin`, as a browser does. Client libraries with
//! a cookie jar may not send a `Secure` cookie over plain http; set the header yourself.
//!
//! # Proof that the database is asked once
//!
//! sea-orm's `set_metric_callback` on the connection counts statements; portcullis' own tests do it
//! that way. [`Portcullis::password_hashes`](crate::Portcullis::password_hashes) counts hashes.
