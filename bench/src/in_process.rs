//! Without a network: the cost of the layer, a refusal, a permission check and a whole request.

use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::http::header::{COOKIE, USER_AGENT as USER_AGENT_HEADER};
use axum::http::{Request, Response, StatusCode};
use axum::routing::get;
use http_body_util::BodyExt;
use portcullis::{Identity, PeerAddr, Portcullis, Requirement};
use sea_orm::{ConnectionTrait, DatabaseConnection};
use tower::ServiceExt;
use tower::layer::util::Identity as EmptyLayer;

use crate::alloc::{self, Allocated};
use crate::data::{Tokens, fill, forge, name, secret};
use crate::database::{Backend, CONNECTIONS, Database, connect};
use crate::figures::{Goals, Table, median, number};
use crate::hs256::nanos;
use crate::load::USER_AGENT;
use crate::server::{guarded, instance, open};
use crate::{Failure, Options, by_hand};

/// Measures everything on a SQLite file.
pub(crate) async fn measure(options: &Options) -> Result<(), Failure> {
    let database = Database::create(Backend::Sqlite).await?.ok_or("SQLite needs nothing")?;
    let secret = secret()?;
    let tokens = fill(&database, &secret).await?;
    let db = connect(&database.url, "bench-in-process", CONNECTIONS).await?;
    let auth = instance(db.clone(), &secret, |builder| builder)?;
    let mut goals = Goals::new("In process: goals");
    routes(&auth, &db, &secret, &tokens, options, &mut goals).await?;
    permission(&auth, &db, &tokens, &mut goals).await?;
    goals.print();
    db.close().await?;
    Ok(())
}

/// A request to a router, and the status that it must return.
pub(crate) struct Way {
    title: &'static str,
    router: Router,
    path: &'static str,
    tokens: Vec<String>,
    expect: StatusCode,
    calls: usize,
    micros: Vec<f64>,
    allocated: Allocated,
}

async fn routes(
    auth: &Portcullis,
    db: &DatabaseConnection,
    secret: &str,
    tokens: &Tokens,
    options: &Options,
    goals: &mut Goals,
) -> Result<(), Failure> {
    let [statement, ..] = auth.statements();
    let pool = db.get_sqlite_connection_pool().clone();
    let plain = by_hand::sqlite(secret, statement.clone(), pool);
    let raw = by_hand::sea_orm(secret, statement, db.clone());
    let ours = guarded(auth)?;
    let layered = open().layer(auth.layer());
    let forgetful = instance(db.clone(), secret, |builder| {
        builder.configure(|config| config.database.remembered_grants = 0)
    })?;
    let forgetful = guarded(&forgetful)?;
    let forged: Vec<_> = tokens.portcullis.iter().map(|token| forge(token)).collect();
    let (none, good, ok) = (&Vec::new(), &tokens.portcullis, StatusCode::OK);
    let no = StatusCode::UNAUTHORIZED;
    let mut ways: Vec<_> = [
        ("open, public route", &open(), "/public", none, ok, 5_000),
        (
            "an empty layer, public route",
            &open().layer(EmptyLayer::new()),
            "/public",
            none,
            ok,
            5_000,
        ),
        ("our layer, public route", &layered, "/public", none, ok, 5_000),
        ("our layer, public route, with a cookie", &layered, "/public", good, ok, 5_000),
        ("open, `/me`", &open(), "/me", none, ok, 5_000),
        ("portcullis, `/me`, no token", &ours, "/me", none, no, 5_000),
        ("portcullis, `/me`, forged", &ours, "/me", &forged, no, 5_000),
        ("stateless, `/me`", &by_hand::stateless(secret), "/me", &tokens.by_hand, ok, 5_000),
        ("by hand, plain sqlx, `/me`", &plain, "/me", &tokens.by_hand, ok, 1_000),
        ("by hand, sea-orm raw, `/me`", &raw, "/me", &tokens.by_hand, ok, 1_000),
        ("portcullis, `/me`", &ours, "/me", good, ok, 1_000),
        ("portcullis, `/admin`", &ours, "/admin", good, ok, 1_000),
        ("portcullis, nothing remembered, `/me`", &forgetful, "/me", good, ok, 1_000),
    ]
    .into_iter()
    .map(|(title, router, path, tokens, expect, calls)| {
        Way::new(title, router.clone(), path, tokens.clone(), expect, calls)
    })
    .collect();
    for round in 0..=options.rounds * 4 {
        for way in &mut ways {
            let (micros, allocated) = way.walk().await?;
            way.allocated = allocated;
            // The first round fills the memory of grants and prepares the statements.
            if round > 0 {
                way.micros.push(micros);
            }
        }
    }
    let columns = ["in process, SQLite", "µs", "allocations", "bytes"];
    let mut table = Table::new("One request through the router", &columns);
    for way in &ways {
        let calls = way.calls as f64;
        let (count, bytes) = (way.allocated.count as f64, way.allocated.bytes as f64);
        let cells = [way.micros(), count / calls, bytes / calls].map(number);
        table.row(std::iter::once(way.title).chain(cells.iter().map(String::as_str)));
    }
    table.print();
    let [public, _, layered, with_cookie, me, _, forged, ..] = &ways[..] else { return Ok(()) };
    let layer = layered.micros() - public.micros();
    goals.at_most("layer on a public route, µs", layer, 1.0);
    let layer = with_cookie.micros() - public.micros();
    goals.at_most("layer on a public route with a cookie, µs", layer, 1.0);
    goals.at_most("forged token refused, µs", forged.micros() - me.micros(), 10.0);
    Ok(())
}

impl Way {
    pub(crate) fn new(
        title: &'static str,
        router: Router,
        path: &'static str,
        tokens: Vec<String>,
        expect: StatusCode,
        calls: usize,
    ) -> Self {
        let (micros, allocated) = (Vec::new(), Allocated { count: 0, bytes: 0 });
        Self { title, router, path, tokens, expect, calls, micros, allocated }
    }

    fn micros(&self) -> f64 {
        median(self.micros.iter().copied())
    }

    fn request(&self, number: usize) -> Result<Request<Body>, Failure> {
        let mut request = Request::get(self.path).header(USER_AGENT_HEADER, USER_AGENT);
        if !self.tokens.is_empty() {
            let token = &self.tokens[number % self.tokens.len()];
            request = request.header(COOKIE, format!("__Host-session={token}"));
        }
        let mut request = request.body(Body::empty())?;
        request.extensions_mut().insert(PeerAddr([127, 0, 0, 1].into()));
        Ok(request)
    }

    /// Returns the time per call in microseconds, and the allocations of all calls together. The
    /// requests are built before the measurement.
    pub(crate) async fn walk(&self) -> Result<(f64, Allocated), Failure> {
        let requests: Result<Vec<_>, _> = (0..self.calls).map(|n| self.request(n)).collect();
        let requests = requests?;
        let mut answers: Vec<Response<Body>> = Vec::with_capacity(self.calls);
        alloc::start();
        let start = Instant::now();
        for request in requests {
            answers.push(self.router.clone().oneshot(request).await?);
        }
        let took = start.elapsed();
        let allocated = alloc::stop();
        for answer in answers {
            if answer.status() != self.expect {
                let status = answer.status();
                let body = answer.into_body().collect().await?.to_bytes();
                return Err(format!("{}: {status} {body:?}", self.title).into());
            }
        }
        Ok((took.as_secs_f64() * 1e6 / self.calls as f64, allocated))
    }
}

/// Measures the check of one permission among 50 grants, as a guard does it.
async fn permission(
    auth: &Portcullis,
    db: &DatabaseConnection,
    tokens: &Tokens,
    goals: &mut Goals,
) -> Result<(), Failure> {
    let permissions: Vec<_> = (0..50).map(|n| format!("domain{n}:read,write:{n}")).collect();
    auth.roles().create("fifty", &permissions).await?;
    let owner = auth.accounts().find_by_login(&name(0)).await?.ok_or("there are accounts")?;
    db.execute_unprepared("DELETE FROM auth_account_role").await?;
    auth.roles().grant(owner.id(), "fifty").await?;
    let identity = identity(auth, &tokens.portcullis[0]).await?;
    if identity.grants().permissions().iter().count() != 50 {
        return Err("the identity has 50 grants".into());
    }
    let columns = ["permission check, 50 grants", "ns", "allocations"];
    let mut table = Table::new("One check", &columns);
    let mut dearest = (0.0f64, 0);
    for (title, text, met) in [
        ("granted", "domain49:read:49", true),
        ("granted, two atoms", "domain25:read,write:25", true),
        ("denied, known domain", "domain25:delete:25", false),
        ("denied, unknown domain", "elsewhere:read", false),
    ] {
        let requirement = Requirement::permission(text)?;
        if identity.meets(&requirement) != met {
            return Err(format!("{text} should be {met}").into());
        }
        alloc::start();
        for _ in 0..1_000 {
            black_box(identity.meets(black_box(&requirement)));
        }
        let allocated = alloc::stop().count;
        let took = nanos(|| identity.meets(black_box(&requirement)));
        table.row([title, &number(took), &allocated.to_string()]);
        dearest = (dearest.0.max(took), dearest.1.max(allocated));
    }
    table.print();
    goals.at_most("permission check with 50 grants, ns", dearest.0, 500.0);
    goals.at_most("allocations of 1000 checks", dearest.1 as f64, 0.0);
    Ok(())
}

/// Returns the identity that belongs to a token, as a handler gets it.
async fn identity(auth: &Portcullis, token: &str) -> Result<Identity, Failure> {
    let kept = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&kept);
    let handler = async move |identity: Identity| {
        *keep.lock().expect("nothing panics while it is held") = Some(identity);
    };
    let router: Router = Router::new().route("/", get(handler)).layer(auth.layer());
    let request = Request::get("/").header(COOKIE, format!("__Host-session={token}"));
    router.oneshot(request.body(Body::empty())?).await?;
    let identity = kept.lock().expect("nothing panics while it is held").take();
    identity.ok_or_else(|| "the token is good".into())
}
