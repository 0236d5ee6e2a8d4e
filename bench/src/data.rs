//! The data: 10 000 accounts with two roles each, and 100 000 sessions.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use axum::http::header::{SET_COOKIE, USER_AGENT as USER_AGENT_HEADER};
use axum::http::{HeaderMap, HeaderValue};
use data_encoding::{BASE64_NOPAD, HEXLOWER};
use portcullis::base::clock::MockClock;
use portcullis::{ClientInfo, Issued, Portcullis, Timestamp, TrustedProxies};
use portcullis_migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, TransactionTrait};
use uuid::Uuid;

use crate::Failure;
use crate::by_hand::{self, Signer};
use crate::database::{Database, connect};
use crate::load::USER_AGENT;
use crate::server::instance;

pub(crate) const ACCOUNTS: usize = 10_000;
pub(crate) const SESSIONS: usize = 100_000;
/// The number of sessions that the load uses: so many of portcullis, and so many of the
/// hand-written servers.
const USED: usize = 2_000;
/// The number of disabled accounts. They are the last ones.
pub(crate) const DISABLED: usize = 1_000;
pub(crate) const PASSWORD: &str = "seven bright horses";
/// The lifetime of a token in seconds. It is longer than any run of the bench.
const TOKEN_SECS: i64 = 3_600;

/// The tokens of the clients: valid and expired ones.
pub(crate) struct Tokens {
    pub(crate) portcullis: Vec<String>,
    pub(crate) by_hand: Vec<String>,
    /// Signed correctly, but past the time in which they can be renewed.
    pub(crate) portcullis_expired: Vec<String>,
    pub(crate) by_hand_expired: Vec<String>,
}

/// Returns a random secret as text.
pub(crate) fn secret() -> Result<String, Failure> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| error.to_string())?;
    Ok(HEXLOWER.encode(&bytes))
}

/// Returns the same token with another signature.
pub(crate) fn forge(token: &str) -> String {
    let at = token.len() - 10;
    let other = if &token[at..=at] == "A" { "B" } else { "A" };
    format!("{}{other}{}", &token[..at], &token[at + 1..])
}

/// Fills an empty database.
pub(crate) async fn fill(database: &Database, secret: &str) -> Result<Tokens, Failure> {
    let db = connect(&database.url, "bench-data", 1).await?;
    Migrator::up(&db, None).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let write = Writer { db: &db, now: i64::try_from(now.as_millis())? };
    let accounts: Vec<Uuid> = (0..ACCOUNTS).map(|_| Uuid::now_v7()).collect();
    write.accounts(&accounts).await?;
    let sids = write.sessions(&accounts).await?;
    let tokens = tokens(&db, secret, write.now, &sids).await?;
    // Limited, as SQLite recommends. An unlimited ANALYZE also takes samples of the values (STAT4).
    // Then SQLite plans a statement again for every value that is bound to it. That takes three
    // times the CPU, for any client of the database.
    let analyze = match db.get_database_backend() {
        DbBackend::Sqlite => "PRAGMA analysis_limit = 400; ANALYZE",
        _ => "ANALYZE",
    };
    db.execute_unprepared(analyze).await?;
    db.close().await?;
    Ok(tokens)
}

async fn tokens(
    db: &DatabaseConnection,
    secret: &str,
    now: i64,
    sids: &[[u8; 16]],
) -> Result<Tokens, Failure> {
    let signer = Signer::new(secret);
    let sign = |secs: i64| sids.iter().take(USED).map(move |sid| (sid, secs));
    let by_hand = sign(TOKEN_SECS).map(|(sid, secs)| signer.sign(sid, secs));
    // jsonwebtoken accepts a token for one more minute after its end, so these must be older.
    let expired = sign(-120).map(|(sid, secs)| signer.sign(sid, secs));
    let long_ago = MockClock::at(Timestamp::from_millis(now).minus(Duration::from_secs(864_000)));
    Ok(Tokens {
        portcullis: start(&instance(db.clone(), secret, |builder| builder)?, db).await?,
        portcullis_expired: {
            let then = instance(db.clone(), secret, |builder| builder.clock(long_ago))?;
            start(&then, db).await?
        },
        by_hand: by_hand.collect::<Result<_, _>>()?,
        by_hand_expired: expired.collect::<Result<_, _>>()?,
    })
}

/// Starts sessions as portcullis does, in one transaction, and returns their tokens.
async fn start(auth: &Portcullis, db: &DatabaseConnection) -> Result<Vec<String>, Failure> {
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT_HEADER, HeaderValue::from_static(USER_AGENT));
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let client = ClientInfo::resolve(Some(local), &headers, &TrustedProxies::default());
    let txn = db.begin().await?;
    let mut tokens = Vec::with_capacity(USED);
    for number in 0..USED {
        let name = name(number * 4);
        let account = auth.accounts().within(&txn).find_by_login(&name).await?;
        let account = account.ok_or("the account was written")?;
        let issued = auth.sessions().start(&account, &client).within(&txn).await?;
        tokens.push(token(&issued)?);
    }
    txn.commit().await?;
    Ok(tokens)
}

fn token(issued: &Issued) -> Result<String, Failure> {
    let mut headers = HeaderMap::new();
    issued.apply(&mut headers);
    let cookie = headers.get(SET_COOKIE).ok_or("a session sets a cookie")?.to_str()?;
    let value = cookie.split_once('=').and_then(|(_, rest)| rest.split_once(';'));
    Ok(value.ok_or("a cookie has attributes")?.0.to_owned())
}

/// Returns the login name of the account with this number.
pub(crate) fn name(number: usize) -> String {
    format!("user{number:05}")
}

/// Returns the one hash that all accounts share. Computing 10 000 hashes would take minutes.
fn password_hash() -> Result<String, Failure> {
    let (memory, passes, salt) = (19 * 1024, 2, b"sixteen bytes ok");
    let params = Params::new(memory, passes, 1, Some(32)).map_err(|error| error.to_string())?;
    let mut output = [0; 32];
    let mut blocks = vec![Block::new(); params.block_count()];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(PASSWORD.as_bytes(), salt, &mut output, &mut blocks)
        .map_err(|error| error.to_string())?;
    let (salt, output) = (BASE64_NOPAD.encode(salt), BASE64_NOPAD.encode(&output));
    Ok(format!("$argon2id$v=19$m={memory},t={passes},p=1${salt}${output}"))
}

/// Writes rows as SQL text, a thousand per statement. The writing is not measured.
struct Writer<'a> {
    db: &'a DatabaseConnection,
    now: i64,
}

impl Writer<'_> {
    async fn accounts(&self, ids: &[Uuid]) -> Result<(), Failure> {
        let now = self.now;
        let hash = password_hash()?;
        let roles = [Uuid::now_v7(), Uuid::now_v7()];
        let permissions = ["doc:read,edit list:read", "admin:read admin:write report:*"];
        let rows = roles.iter().zip(permissions).zip(["member", "staff"]);
        let rows = rows.map(|((id, permissions), name)| {
            format!("({}, '{name}', '{permissions}', FALSE, {now})", self.uuid(id))
        });
        self.rows("auth_role (id, name, permissions, requires_factor, created_at)", rows).await?;
        let row = |(number, id): (usize, &Uuid)| {
            let (id, name) = (self.uuid(id), name(number));
            let disabled = if number < ACCOUNTS - DISABLED { "NULL" } else { "1" };
            format!("({id}, '{name}', '{hash}', FALSE, FALSE, 0, 0, 0, {disabled}, {now})")
        };
        let columns = "auth_account (id, username, password_hash, must_change_password, \
                       superuser, epoch, version, enrolled_factors, disabled_at, created_at)";
        self.rows(columns, ids.iter().enumerate().map(row)).await?;
        let row = |(number, id): (usize, &Uuid)| {
            format!("('{}', {}, 1, {now})", name(number), self.uuid(id))
        };
        let columns = "auth_login_name (normal, account_id, kind, created_at)";
        self.rows(columns, ids.iter().enumerate().map(row)).await?;
        let rows = ids.iter().flat_map(|account| {
            roles.iter().map(|role| {
                let (account, role) = (self.uuid(account), self.uuid(role));
                format!("({account}, {role}, {now})")
            })
        });
        self.rows("auth_account_role (account_id, role_id, granted_at)", rows).await
    }

    /// Writes the sessions that portcullis does not start. The hand-written servers know their
    /// tokens.
    async fn sessions(&self, accounts: &[Uuid]) -> Result<Vec<[u8; 16]>, Failure> {
        let count = SESSIONS - 2 * USED;
        let mut sids = vec![[0; 16]; count];
        getrandom::fill(sids.as_flattened_mut()).map_err(|error| error.to_string())?;
        let now = self.now;
        let end = now + 30 * 86_400_000;
        let row = |(number, sid): (usize, &[u8; 16])| {
            let id = Uuid::now_v7();
            // Skips the disabled accounts.
            let account = accounts[number % (ACCOUNTS - DISABLED)];
            let digest = self.bytes(&by_hand::digest(sid));
            format!(
                "({}, {digest}, {number}, {}, {}, 0, 0, 0, {now}, {now}, {end}, 604800000, TRUE, \
                 'pwd:{now}', '127.0.0.1', '{USER_AGENT}')",
                self.uuid(&id),
                self.uuid(&id),
                self.uuid(&account),
            )
        };
        let columns = "auth_session (id, token_digest, version, lineage_id, account_id, account_epoch, \
                       stage, generation, rotated_at, created_at, expires_at, idle_ms, persistent, \
                       factors, address, user_agent)";
        self.rows(columns, sids.iter().enumerate().map(row)).await?;
        Ok(sids)
    }

    async fn rows(&self, columns: &str, rows: impl Iterator<Item = String>) -> Result<(), Failure> {
        let txn = self.db.begin().await?;
        let rows: Vec<_> = rows.collect();
        for rows in rows.chunks(1_000) {
            let text = format!("INSERT INTO {columns} VALUES {}", rows.join(", "));
            txn.execute_unprepared(&text).await?;
        }
        txn.commit().await?;
        Ok(())
    }

    fn uuid(&self, id: &Uuid) -> String {
        match self.db.get_database_backend() {
            DbBackend::Sqlite => self.bytes(id.as_bytes()),
            _ => format!("'{id}'"),
        }
    }

    fn bytes(&self, bytes: &[u8]) -> String {
        let hex = HEXLOWER.encode(bytes);
        match self.db.get_database_backend() {
            DbBackend::Sqlite => format!("X'{hex}'"),
            _ => format!("'\\x{hex}'"),
        }
    }
}
