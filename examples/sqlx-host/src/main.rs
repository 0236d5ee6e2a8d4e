//! A service on plain sqlx, with chrono and `query_as!`, and with accounts of portcullis.
//!
//! - The tables come from SQL files. The files `migrations/*_auth_*.sql` are copies of the files in
//!   `migration/sql/postgres` of portcullis, under names of this service. `sqlx::migrate!` applies
//!   them together with its own. The crate `portcullis-migration` is not needed.
//! - Both sides use one pool. sea-orm is only a thin layer around it.
//! - `POST /authors` creates an account and a row of the application in one transaction.
//!
//! You need PostgreSQL. In this folder, start it with
//! `SQLX_OFFLINE=true DATABASE_URL=postgres://user:password@localhost/name cargo run`. Without
//! `SQLX_OFFLINE`, sqlx would check the queries in this database while it compiles, where there are no
//! tables yet. Then run:
//!
//! ```text
//! $ url=http://127.0.0.1:3007
//! $ curl --json '{ "username": "alice", "password": "correct horse battery", "pen_name": "Alice A." }' $url/authors
//! $ curl -c jar --json '{ "login": "alice", "password": "correct horse battery" }' $url/auth/login
//! $ curl -b jar -c jar --json '{ "title": "Hello" }' $url/articles
//! $ curl -b jar -c jar $url/articles
//! ```

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use portcullis::account::NewAccount;
use portcullis::{Account, Fault, Portcullis, Refusal, Rejection, Requirement, Secret, public};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, SqlErr, SqlxPostgresConnector, Statement};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;

#[cfg(test)]
mod tests;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("DATABASE_URL").map_err(|_| "set DATABASE_URL")?;
    let (pool, auth) = start(&url, Secret::load_or_create("sqlx-host.secret")?).await?;
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 3007)).await?;
    println!("sqlx-host serves http://{}; Ctrl-C stops it", listener.local_addr()?);
    let service = app(pool, &auth).into_make_service_with_connect_info::<SocketAddr>();
    tokio::select! {
        result = axum::serve(listener, service).into_future() => result?,
        _ = tokio::signal::ctrl_c() => {}
    }
    // Finishes the work of requests whose clients disconnected.
    let _ = tokio::time::timeout(Duration::from_secs(10), auth.drain()).await;
    Ok(())
}

async fn start(url: &str, secret: Secret) -> Result<(PgPool, Portcullis), Box<dyn Error>> {
    let pool = PgPoolOptions::new()
        .max_connections(10)
        // A ping before each use doubles the cost of a request. A connection that was idle for long
        // may be dead.
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for > Duration::from_secs(30) {
                    sqlx::Connection::ping(connection).await?;
                }
                Ok(true)
            })
        })
        .connect(url)
        .await?;
    // sqlx has its own lock, so several nodes may start together.
    sqlx::migrate!().run(&pool).await?;
    let db = SqlxPostgresConnector::from_sqlx_postgres_pool(pool.clone());
    let auth = Portcullis::builder(db).secret(secret).build()?;
    // Fails at once if an SQL file was forgotten.
    auth.check_tables().await?;
    Ok((pool, auth))
}

fn app(pool: PgPool, auth: &Portcullis) -> Router {
    auth.router()
        .route("/authors", post(join), public())
        .route("/articles", get(own_articles).post(write), Requirement::signed_in())
        .auth_routes("/auth", auth.routes())
        .with_state(pool)
        .into_router()
}

#[derive(Deserialize)]
struct NewAuthor {
    username: String,
    password: String,
    pen_name: String,
}

/// Creates an account and its author in one transaction.
async fn join(auth: Portcullis, Json(new): Json<NewAuthor>) -> Result<StatusCode, Rejection> {
    // Checks and hashes the password before the transaction, so that no lock is held during this
    // time.
    let account = NewAccount::username(new.username);
    let account = auth.registration().prepare(account, new.password).await?;
    let txn = auth.begin().await?;
    let account = auth.accounts().within(&txn).create(account).await?;
    // The transaction belongs to sea-orm, so no macro checks this statement.
    let author = Statement::from_sql_and_values(
        DbBackend::Postgres,
        "INSERT INTO author (account_id, pen_name) VALUES ($1, $2)",
        [account.id().as_uuid().into(), new.pen_name.into()],
    );
    txn.execute_raw(author).await.map_err(not_kept)?;
    txn.commit().await.map_err(Fault::from)?;
    Ok(StatusCode::CREATED)
}

fn not_kept(error: DbErr) -> Rejection {
    match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(_)) => {
            let reason = "another author has this pen name";
            Refusal::new(StatusCode::CONFLICT, "pen_name_taken", reason).into()
        }
        _ => Fault::from(error).into(),
    }
}

#[derive(Serialize)]
struct Article {
    id: Uuid,
    title: String,
    pen_name: Option<String>,
    created_at: DateTime<Utc>,
}

#[derive(Deserialize)]
struct NewArticle {
    title: String,
}

async fn write(
    author: Account,
    State(pool): State<PgPool>,
    Json(new): Json<NewArticle>,
) -> Result<(StatusCode, Json<Article>), Rejection> {
    let article = sqlx::query_as!(
        Article,
        r#"INSERT INTO article (id, author_id, title) VALUES ($1, $2, $3)
           RETURNING id, title, created_at,
           (SELECT pen_name FROM author WHERE account_id = author_id) AS pen_name"#,
        Uuid::now_v7(),
        author.id().as_uuid(),
        new.title,
    )
    .fetch_one(&pool)
    .await
    .map_err(failed)?;
    Ok((StatusCode::CREATED, Json(article)))
}

/// A column contains the owner. So no permission for each row is needed.
async fn own_articles(
    author: Account,
    State(pool): State<PgPool>,
) -> Result<Json<Vec<Article>>, Rejection> {
    let articles = sqlx::query_as!(
        Article,
        r#"SELECT article.id, title, created_at, author.pen_name AS "pen_name?"
           FROM article LEFT JOIN author ON author.account_id = author_id
           WHERE author_id = $1 ORDER BY article.id"#,
        author.id().as_uuid(),
    )
    .fetch_all(&pool)
    .await
    .map_err(failed)?;
    Ok(Json(articles))
}

/// The client learns only that the service is unavailable. The cause is for the log.
fn failed(error: sqlx::Error) -> Rejection {
    Fault::from(DbErr::Custom(error.to_string())).into()
}
