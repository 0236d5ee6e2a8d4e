//! Servers as a developer would write them by hand: the same statement, the same columns, and a
//! token of their own.
//!
//! They verify the token with jsonwebtoken, find the session by the SHA-256 of its random part,
//! decode every column that portcullis decodes, and refuse an ended session and a disabled account.
//! They do not rotate, compare sources, know stages or read permissions.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header::COOKIE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use sea_orm::sqlx::{self, PgPool, Row, SqlitePool};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, Statement};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::Failure;

const ISSUER: &str = "by-hand";

/// The claims of the hand-written token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(crate) aud: String,
    pub(crate) sid: String,
    pub(crate) iat: i64,
    pub(crate) exp: i64,
}

/// The keys and the rules of verification, made once.
pub(crate) struct Signer {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

impl Signer {
    pub(crate) fn new(secret: &str) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[ISSUER]);
        Self {
            encoding: EncodingKey::from_secret(secret.as_bytes()).expect("the secret is not empty"),
            decoding: DecodingKey::from_secret(secret.as_bytes()).expect("the secret is not empty"),
            validation,
        }
    }

    pub(crate) fn sign(&self, sid: &[u8; 16], lifetime_secs: i64) -> Result<String, Failure> {
        let now = now_secs();
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: ISSUER.to_owned(),
            sid: BASE64URL_NOPAD.encode(sid),
            iat: now,
            exp: now + lifetime_secs,
        };
        Ok(jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)?)
    }

    pub(crate) fn verify(&self, token: &str) -> Option<Claims> {
        jsonwebtoken::decode(token, &self.decoding, &self.validation).ok().map(|data| data.claims)
    }

    /// Returns the digest to look for, if the request carries a valid token.
    fn digest(&self, headers: &HeaderMap) -> Option<[u8; 32]> {
        let claims = self.verify(cookie(headers)?)?;
        Some(digest(&BASE64URL_NOPAD.decode(claims.sid.as_bytes()).ok()?))
    }
}

pub(crate) fn digest(sid: &[u8]) -> [u8; 32] {
    Sha256::digest(sid).into()
}

fn now_secs() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers.get(COOKIE)?.to_str().ok()?.split("; ").find_map(|c| c.strip_prefix("__Host-session="))
}

/// The answer of `/me`, the same from every server.
#[derive(Serialize)]
pub(crate) struct Me {
    pub(crate) id: String,
    pub(crate) username: String,
}

/// Builds a stateless server: it accepts every token with a valid signature.
pub(crate) fn stateless(secret: &str) -> Router {
    async fn me(State(signer): State<Arc<Signer>>, headers: HeaderMap) -> Response {
        match cookie(&headers).and_then(|token| signer.verify(token)) {
            Some(claims) => axum::Json(Me { id: claims.sid, username: claims.iss }).into_response(),
            None => StatusCode::UNAUTHORIZED.into_response(),
        }
    }
    Router::new().route("/me", get(me)).with_state(Arc::new(Signer::new(secret)))
}

/// The columns of the statement that the answer contains or depends on. The others are decoded and
/// dropped, because a handler that reads a whole session would decode them too.
struct Found {
    account: Option<Uuid>,
    username: Option<String>,
    ended_at: Option<i64>,
    expires_at: i64,
    disabled_at: Option<i64>,
}

impl Found {
    fn answer(self) -> Response {
        let now = now_secs() * 1000;
        let live = self.ended_at.is_none()
            && self.expires_at > now
            && self.disabled_at.is_none_or(|at| at > now);
        match (live, self.account, self.username) {
            (true, Some(id), Some(username)) => {
                axum::Json(Me { id: id.to_string(), username }).into_response()
            }
            _ => StatusCode::UNAUTHORIZED.into_response(),
        }
    }
}

/// Reads 35 columns by position. They must be the columns of the short statement, in its order
/// (`COLUMNS` in `src/identity/store.rs`).
macro_rules! read {
    ($row:ident.$column:ident) => {{
        use std::hint::black_box;
        black_box::<Uuid>($row.$column(0)?);
        black_box::<Uuid>($row.$column(1)?);
        black_box::<Option<Uuid>>($row.$column(2)?);
        black_box::<i64>($row.$column(3)?);
        black_box::<i16>($row.$column(4)?);
        black_box::<i64>($row.$column(5)?);
        black_box::<i64>($row.$column(6)?);
        black_box::<Option<i64>>($row.$column(7)?);
        black_box::<Option<i64>>($row.$column(8)?);
        black_box::<Option<i64>>($row.$column(9)?);
        black_box::<Option<i64>>($row.$column(10)?);
        black_box::<i64>($row.$column(11)?);
        let expires_at: i64 = $row.$column(12)?;
        black_box::<i64>($row.$column(13)?);
        black_box::<bool>($row.$column(14)?);
        black_box::<String>($row.$column(15)?);
        black_box::<Option<String>>($row.$column(16)?);
        black_box::<Option<String>>($row.$column(17)?);
        black_box::<Option<String>>($row.$column(18)?);
        let ended_at: Option<i64> = $row.$column(19)?;
        black_box::<Option<String>>($row.$column(20)?);
        black_box::<Option<i64>>($row.$column(21)?);
        let username: Option<String> = $row.$column(22)?;
        black_box::<Option<String>>($row.$column(23)?);
        black_box::<Option<String>>($row.$column(24)?);
        black_box::<Option<bool>>($row.$column(25)?);
        black_box::<Option<i64>>($row.$column(26)?);
        black_box::<Option<i64>>($row.$column(27)?);
        black_box::<Option<i64>>($row.$column(28)?);
        black_box::<Option<i64>>($row.$column(29)?);
        let disabled_at: Option<i64> = $row.$column(30)?;
        black_box::<Option<i64>>($row.$column(31)?);
        black_box::<Option<i64>>($row.$column(32)?);
        black_box::<i64>($row.$column(33)?);
        let account: Option<Uuid> = $row.$column(34)?;
        Found { account, username, ended_at, expires_at, disabled_at }
    }};
}

struct ByHand<D> {
    signer: Signer,
    statement: &'static str,
    database: D,
}

impl<D> ByHand<D> {
    fn new(secret: &str, statement: String, database: D) -> Arc<Self> {
        // The text lives as long as the process, like a text that is written into the program.
        Arc::new(Self { signer: Signer::new(secret), statement: statement.leak(), database })
    }
}

fn answer(found: Result<Option<Found>, impl std::error::Error>) -> Response {
    match found {
        Ok(Some(found)) => found.answer(),
        Ok(None) => StatusCode::UNAUTHORIZED.into_response(),
        Err(error) => {
            eprintln!("the hand-written server failed: {error}");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

macro_rules! plain_sqlx {
    ($name:ident, $pool:ty) => {
        /// Builds a server that sends the statement with plain sqlx.
        pub(crate) fn $name(secret: &str, statement: String, pool: $pool) -> Router {
            async fn find(
                state: &ByHand<$pool>,
                digest: [u8; 32],
            ) -> Result<Option<Found>, sqlx::Error> {
                let query = sqlx::query(state.statement).bind(&digest[..]);
                let Some(row) = query.fetch_optional(&state.database).await? else {
                    return Ok(None);
                };
                Ok(Some(read!(row.try_get)))
            }
            async fn me(State(state): State<Arc<ByHand<$pool>>>, headers: HeaderMap) -> Response {
                match state.signer.digest(&headers) {
                    Some(digest) => answer(find(&state, digest).await),
                    None => StatusCode::UNAUTHORIZED.into_response(),
                }
            }
            Router::new().route("/me", get(me)).with_state(ByHand::new(secret, statement, pool))
        }
    };
}

plain_sqlx!(sqlite, SqlitePool);
plain_sqlx!(postgres, PgPool);

/// Builds a server that sends the statement as a raw statement of sea-orm.
pub(crate) fn sea_orm(secret: &str, statement: String, db: DatabaseConnection) -> Router {
    async fn find(
        state: &ByHand<DatabaseConnection>,
        digest: [u8; 32],
    ) -> Result<Option<Found>, DbErr> {
        let statement = Statement::from_sql_and_values(
            state.database.get_database_backend(),
            state.statement,
            [digest.to_vec().into()],
        );
        let Some(row) = state.database.query_one_raw(statement).await? else { return Ok(None) };
        Ok(Some(read!(row.try_get_by_index)))
    }
    async fn me(
        State(state): State<Arc<ByHand<DatabaseConnection>>>,
        headers: HeaderMap,
    ) -> Response {
        match state.signer.digest(&headers) {
            Some(digest) => answer(find(&state, digest).await),
            None => StatusCode::UNAUTHORIZED.into_response(),
        }
    }
    Router::new().route("/me", get(me)).with_state(ByHand::new(secret, statement, db))
}
