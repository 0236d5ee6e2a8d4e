//! Rates in Redis, so that several nodes count together.

use std::fmt;
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisError, Script};
use tokio::sync::OnceCell;

use crate::base::clock::Timestamp;
use crate::base::rate::{Quota, RateKey, RateVerdict, now_us};
use crate::port::{HookFuture, RateLimiter};

/// Reads, decides and writes in one step on the server. All numbers are below 2^53, so Lua's
/// floating point keeps them exact. The key expires when its quota is complete again.
const SCRIPT: &str = "
local now, interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local spent = tonumber(redis.call('GET', KEYS[1]) or '0')
if spent < now then spent = now end
if spent > now + burst then spent = now + burst end
local after = spent + interval
if after - now > burst then return {0, string.format('%.0f', spent)} end
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000))
return {1, string.format('%.0f', spent)}
";

/// A [`RateLimiter`] in Redis, or in a server with the same protocol. It runs one small script per
/// request.
///
/// It connects at the first request, and reconnects automatically. While it has no connection, the
/// stricter local limit counts.
pub struct RedisRateLimiter {
    client: Client,
    prefix: String,
    script: Script,
    connection: OnceCell<ConnectionManager>,
}

impl RedisRateLimiter {
    /// Keeps rates in the server at this URL, such as `redis://127.0.0.1:6379/0`, under keys that
    /// start with `portcullis:rate:`. It does not connect yet.
    ///
    /// # Errors
    /// The URL cannot be parsed.
    pub fn new(url: &str) -> Result<Self, RedisError> {
        Ok(Self {
            client: Client::open(url)?,
            prefix: "portcullis:rate:".to_owned(),
            script: Script::new(SCRIPT),
            connection: OnceCell::new(),
        })
    }

    /// Sets another prefix for the keys. Two services that share a server, but not the secret,
    /// never share a key, because keys are digests made with the secret.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    async fn connection(&self) -> Result<ConnectionManager, RedisError> {
        // The connection makes no retries: a request is waiting, and there is a local limit
        // instead.
        let connect = || {
            let config = ConnectionManagerConfig::new()
                .set_number_of_retries(0)
                .set_connection_timeout(Some(Duration::from_secs(2)))
                .set_response_timeout(Some(Duration::from_secs(2)));
            ConnectionManager::new_with_config(self.client.clone(), config)
        };
        Ok(self.connection.get_or_try_init(connect).await?.clone())
    }

    async fn decide(
        &self,
        key: &RateKey,
        quota: Quota,
        now: Timestamp,
    ) -> Result<RateVerdict, RedisError> {
        let mut connection = self.connection().await?;
        let key = data_encoding::BASE64URL_NOPAD.encode(key.as_bytes());
        let (admitted, spent): (u8, i64) = self
            .script
            .key(format!("{}{key}", self.prefix))
            .arg(now_us(now))
            .arg(quota.interval_us())
            .arg(quota.burst_us())
            .invoke_async(&mut connection)
            .await?;
        Ok(RateVerdict { admitted: admitted == 1, ..quota.judge(spent, now) })
    }
}

impl RateLimiter for RedisRateLimiter {
    fn admit<'a>(
        &'a self,
        key: &'a RateKey,
        quota: Quota,
        now: Timestamp,
    ) -> HookFuture<'a, RateVerdict> {
        Box::pin(async move { Ok(self.decide(key, quota, now).await?) })
    }
}

impl fmt::Debug for RedisRateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may contain a password.
        f.debug_struct("RedisRateLimiter").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
