//! The keys of captchas, and the places for slow work.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

#[cfg(feature = "captcha")]
use crate::base::seal::Sealer;
use crate::base::secret::{DigestKey, Purpose};
use crate::base::transaction::Fault;
use crate::context::{Context, PerInstance};

pub(super) struct CaptchaKeys {
    /// Seals answers in their rows, so that every node can draw a picture.
    #[cfg(feature = "captcha")]
    pub(super) sealer: Sealer,
    /// Digests of sources and names that failed.
    pub(super) subjects: DigestKey,
    /// Digests of the tokens of a provider, newest secret first.
    pub(super) tokens: Vec<DigestKey>,
    /// Signatures of proofs of work, newest secret first.
    pub(super) signatures: Vec<DigestKey>,
}

impl PerInstance for CaptchaKeys {
    fn open(context: &Context) -> Self {
        let secrets = &context.config.keys.secrets;
        let signature = |secret| DigestKey::new(secret, Purpose::CaptchaSignature);
        let token = |secret| DigestKey::new(secret, Purpose::CaptchaToken);
        Self {
            #[cfg(feature = "captcha")]
            sealer: Sealer::new(secrets, Purpose::CaptchaAnswer),
            subjects: DigestKey::new(&secrets[0], Purpose::CaptchaSubject),
            tokens: secrets.iter().map(token).collect(),
            signatures: secrets.iter().map(signature).collect(),
        }
    }
}

/// The places for drawing, speaking and deriving keys. They are separate from those of passwords, so
/// that captchas never delay a sign-in.
pub(super) struct Workers(Arc<Semaphore>);

impl PerInstance for Workers {
    fn open(context: &Context) -> Self {
        Self(Arc::new(Semaphore::new(context.config.captcha.workers)))
    }
}

impl Workers {
    /// Runs slow work on a thread that serves no requests. It keeps its place until it ends, also if
    /// the client disconnects.
    pub(super) async fn run<T: Send + 'static>(
        context: &Context,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let workers = context.per_instance::<Self>();
        let place = timeout(context.config.captcha.wait, Arc::clone(&workers.0).acquire_owned());
        let Ok(Ok(place)) = place.await else {
            return Err(Fault::Overloaded { retry_after: Duration::from_secs(1) });
        };
        let done = spawn_blocking(move || {
            let result = work();
            drop(place);
            result
        });
        done.await.map_err(|died| Fault::Internal(died.to_string().into()))
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use sea_orm::DatabaseConnection;

    use super::Workers;
    use crate::base::secret::Secret;
    use crate::handle::Portcullis;

    /// Everything else of this runtime runs on the thread of the test.
    #[tokio::test(flavor = "current_thread")]
    async fn slow_work_runs_on_a_thread_that_serves_no_requests() {
        let auth = Portcullis::builder(DatabaseConnection::default()).secret(Secret::generate());
        let auth = auth.build().expect("the configuration is right");
        let here = thread::current().id();
        let other = tokio::spawn(async { thread::current().id() });
        assert_eq!(other.await.expect("no panic"), here);
        let there = Workers::run(auth.context(), || thread::current().id()).await;
        assert_ne!(there.expect("there is a place"), here);
    }
}
