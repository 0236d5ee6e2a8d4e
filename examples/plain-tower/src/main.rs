//! A hyper service without axum: sign-in, one guarded path, sign-out.
//!
//! Layers and guards are tower layers around any service of `http::Request`. So they work in a
//! `ServiceBuilder`, with tonic, or, as in this example, around a plain function. Without the feature
//! `routes` there are no routes to mount, so the handlers call the flows themselves. The example still
//! needs the small crate axum-core, which contains the body type of error answers.
//!
//! `cargo run -p plain-tower` creates an account with a random password and prints the password. Then run:
//!
//! ```text
//! $ url=http://127.0.0.1:3002
//! $ curl -s $url/me                               401 not_signed_in
//! $ curl -s -c jar --json '{ "login": "alice", "password": "PASSWORD" }' $url/login
//! signed in
//! $ curl -s -b jar $url/me                        you are alice
//! $ curl -s -b jar $url/admin                     403 denied
//! $ curl -s -b jar -c jar -X POST $url/logout     signed out
//! $ curl -s -b jar $url/me                        401 not_signed_in
//! ```

use std::convert::Infallible;
use std::error::Error;
use std::net::Ipv4Addr;
use std::time::Duration;

use axum_core::body::Body;
use axum_core::response::IntoResponse;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use portcullis::account::NewAccount;
use portcullis::login::Credentials;
use portcullis::{Identity, PeerAddr, PermissionError, Portcullis, Rejection, Requirement, Secret};
use portcullis_migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectOptions, Database};
use serde_json::Value;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt};

#[cfg(test)]
mod tests;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let auth = start(&directory).await?;
    let password = random_password()?;
    seed(&auth, &password).await?;
    let service = service(&auth)?;
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 3002)).await?;
    println!("alice: {password}");
    println!("plain-tower serves http://{}; Ctrl-C stops it", listener.local_addr()?);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => accepted?,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        let service = ServiceBuilder::new()
            .map_request(move |request: Request<Incoming>| {
                let mut request = request.map(Body::new);
                // Sessions and rate limits need the client address.
                request.extensions_mut().insert(PeerAddr(peer.ip()));
                request
            })
            .service(service.clone());
        tokio::spawn(async move {
            let service = TowerToHyperService::new(service);
            // A client that disconnects is not an error of the service.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

type Answer = Result<Response<Body>, Rejection>;

fn service(
    auth: &Portcullis,
) -> Result<BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>, PermissionError> {
    let me = ServiceBuilder::new()
        .layer(auth.require(Requirement::signed_in()))
        .service_fn(async |request| Ok(rendered(me(request).await)));
    let admin = ServiceBuilder::new()
        .layer(auth.require(Requirement::permission("admin:read")?))
        .service_fn(async |_| Ok(text(StatusCode::OK, "only for administrators\n")));
    let handle = auth.clone();
    let paths = move |request: Request<Body>| {
        let (auth, me, admin) = (handle.clone(), me.clone(), admin.clone());
        async move {
            match (request.method(), request.uri().path()) {
                (&Method::GET, "/me") => me.oneshot(request).await,
                (&Method::GET, "/admin") => admin.oneshot(request).await,
                (&Method::POST, "/login") => Ok(rendered(login(&auth, request).await)),
                (&Method::POST, "/logout") => Ok(rendered(logout(&auth, request).await)),
                _ => Ok(text(StatusCode::NOT_FOUND, "there is nothing here\n")),
            }
        }
    };
    // The outermost layer. It adds a handle to each request, which guards and extractors use.
    Ok(BoxCloneSyncService::new(ServiceBuilder::new().layer(auth.layer()).service_fn(paths)))
}

async fn me(request: Request<Body>) -> Answer {
    let identity = Identity::of(request.extensions()).await?;
    let name = identity.account().username().unwrap_or("somebody");
    Ok(text(StatusCode::OK, &format!("you are {name}\n")))
}

/// Does the same as the mounted route: checks the origin of the request, reads the body, calls the flow,
/// and adds the issued session to the answer.
async fn login(auth: &Portcullis, request: Request<Body>) -> Answer {
    let (parts, body) = request.into_parts();
    // Another site must not sign its visitors in to the attacker's account.
    auth.check_same_origin(&parts)?;
    let client = auth.client_info(&parts);
    let Some((login, password)) = credentials(body).await else {
        let expected = "send { \"login\": \"..\", \"password\": \"..\" }\n";
        return Ok(text(StatusCode::BAD_REQUEST, expected));
    };
    // Replaces the session that the request had before.
    let flow = auth.login().replacing(&parts.extensions).await?;
    let outcome = flow.with_password(Credentials::password(login, password), &client).await?;
    let mut response = text(StatusCode::OK, "signed in\n");
    outcome.into_issued().apply(response.headers_mut());
    Ok(response)
}

async fn credentials(body: Body) -> Option<(String, String)> {
    let bytes = Limited::new(body, 16 * 1024).collect().await.ok()?.to_bytes();
    let value: Value = serde_json::from_slice(&bytes).ok()?;
    Some((value["login"].as_str()?.to_owned(), value["password"].as_str()?.to_owned()))
}

async fn logout(auth: &Portcullis, request: Request<Body>) -> Answer {
    // This also checks the origin of a request with a cookie.
    let signed_out = auth.log_out(request.extensions()).await?;
    let mut response = text(StatusCode::OK, "signed out\n");
    if let Some(signed_out) = signed_out {
        signed_out.apply(response.headers_mut());
    }
    Ok(response)
}

fn rendered(answer: Answer) -> Response<Body> {
    answer.unwrap_or_else(IntoResponse::into_response)
}

fn text(status: StatusCode, text: &str) -> Response<Body> {
    let kind = (header::CONTENT_TYPE, "text/plain; charset=utf-8");
    (status, [kind], text.to_owned()).into_response()
}

async fn start(directory: &tempfile::TempDir) -> Result<Portcullis, Box<dyn Error>> {
    let file = directory.path().join("plain-tower.sqlite");
    let mut options = ConnectOptions::new(format!("sqlite://{}?mode=rwc", file.display()));
    options.test_before_acquire_if_idle_for(Duration::from_secs(30)).sqlx_logging(false);
    let db = Database::connect(options).await?;
    Migrator::up(&db, None).await?;
    // The secret is not kept: all sessions end with the process, like all data of this example.
    Ok(Portcullis::builder(db).secret(Secret::generate()).build()?)
}

async fn seed(auth: &Portcullis, password: &str) -> Result<(), Box<dyn Error>> {
    auth.registration().create(NewAccount::username("alice"), password).await?;
    Ok(())
}

/// 128 bits in hexadecimal.
fn random_password() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
