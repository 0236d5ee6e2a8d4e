//! The guarded router: what it guards, what it records, and what it refuses to accept.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::Method;
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, any, any_service, delete, get, options, post, put};
use axum::{Extension, Router};
use portcullis::session::Transport;
use portcullis::test_kit::TestClient;
use portcullis::{
    Account, ClientInfo, Factor, GuardedRoute, GuardedRouter, Identity, Portcullis, Requirement,
    public,
};

use crate::on_every_database;
use crate::support::Probe;
use crate::support::call::{call, cookie_of, request};

portcullis::permissions! {
    doc: Read, Write;
}

async fn hello() -> &'static str {
    "hello"
}

/// Counts how often a handler ran.
#[derive(Clone, Default)]
struct Runs(Arc<AtomicUsize>);

impl Runs {
    fn handler(
        &self,
    ) -> impl Fn() -> std::future::Ready<&'static str> + Clone + Send + Sync + 'static {
        let runs = self.clone();
        move || {
            runs.0.fetch_add(1, Ordering::SeqCst);
            std::future::ready("ran")
        }
    }

    fn take(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

/// Returns a client of a new account with these permissions.
async fn client(probe: &Probe, name: &str, permissions: &[&str]) -> TestClient {
    let new = portcullis::account::NewAccount::username(name);
    let account = probe.auth.accounts().create(new).await.expect("an account");
    grant(probe, &account, name, permissions).await;
    probe.auth.test().login_as(&account).into_client()
}

async fn grant(probe: &Probe, account: &Account, role: &str, permissions: &[&str]) {
    if !permissions.is_empty() {
        probe.auth.roles().create(role, permissions).await.expect("a role");
        probe.auth.roles().grant(account.id(), role).await.expect("it is granted");
    }
}

async fn status(app: &Router, client: &TestClient, method: &str, path: &str) -> u16 {
    let method = method.parse::<Method>().expect("a method");
    client.request(method, path).send(app).await.status().as_u16()
}

/// Returns the panic message of a router that is built wrongly.
fn refusal<S>(build: impl FnOnce() -> GuardedRouter<S>) -> String
where
    S: Clone + Send + Sync + 'static,
{
    let result = catch_unwind(AssertUnwindSafe(|| build().into_router()));
    let panic = result.expect_err("it is refused");
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast::<&str>().expect("a panic has a text").to_string(),
    }
}

fn table(auth: &Portcullis) -> Vec<String> {
    auth.guarded_routes().iter().map(ToString::to_string).collect()
}

on_every_database! {
    async fn each_route_accepts_only_the_callers_it_names_and_is_listed(probe: Probe) {
        let auth = &probe.auth;
        let fresh = Requirement::factor_within(Factor::Totp, Duration::from_secs(60));
        let app: Router = auth
            .router()
            .route("/", get(hello), public())
            .route("/me", get(hello), Requirement::signed_in())
            .route("/docs", get(hello), doc::Read)
            .route("/docs/{id}", get(hello), auth.require(doc::Read).on_path("id"))
            .route("/fresh", post(hello), fresh)
            .auth_routes("/auth", auth.routes())
            .into_router();
        let nobody = auth.test().nobody();
        let none = client(&probe, "none", &[]).await;
        let one = client(&probe, "one", &["doc:read:1"]).await;
        let all = client(&probe, "all", &["doc:read"]).await;
        for (method, path, expected) in [
            ("GET", "/", [200, 200, 200, 200]),
            ("GET", "/me", [401, 200, 200, 200]),
            ("GET", "/docs", [401, 403, 403, 200]),
            ("GET", "/docs/1", [401, 403, 200, 200]),
            ("GET", "/docs/2", [401, 403, 403, 200]),
            ("GET", "/docs/*", [401, 404, 404, 404]),
            ("POST", "/fresh", [401, 401, 401, 401]),
            ("GET", "/auth/methods", [200, 200, 200, 200]),
            ("GET", "/nothing", [404, 404, 404, 404]),
        ] {
            let mut found = Vec::new();
            for client in [&nobody, &none, &one, &all] {
                found.push(status(&app, client, method, path).await);
            }
            assert_eq!(found, expected, "{method} {path}");
        }
        let account = probe.register("totp").await;
        let proved = auth.test().login_as(&account).with_factors([(Factor::Totp, Duration::ZERO)]);
        assert_eq!(status(&app, &proved, "POST", "/fresh").await, 200);
        let recorded = table(auth);
        let ours = recorded.iter().filter(|line| !line.contains(" /auth/"));
        assert_eq!(ours.collect::<Vec<_>>(), [
            "GET /: public",
            "GET /docs: permission(doc:read)",
            "GET /docs/{id}: permission(doc:read) on {id}",
            "POST /fresh: factor(totp, within 60s)",
            "GET /me: signed_in",
        ]);
        for line in ["POST /auth/login: own: anyone", "GET /auth/session: own: signed in"] {
            assert!(recorded.iter().any(|known| known == line), "{line}: {recorded:#?}");
        }
    }

    async fn two_methods_of_one_path_ask_for_different_things(probe: Probe) {
        let auth = &probe.auth;
        let app: Router = auth
            .router()
            .route("/docs", get(hello), doc::Read)
            .route("/docs", post(hello).put(hello), doc::Write)
            .route("/docs", delete(hello), Requirement::role("editor"))
            .route("/docs", options(hello), public())
            .into_router();
        let reader = client(&probe, "reader", &["doc:read"]).await;
        let writer = client(&probe, "writer", &["doc:write"]).await;
        let nobody = auth.test().nobody();
        for (method, expected) in [
            ("GET", [401, 200, 403]),
            ("HEAD", [401, 200, 403]),
            ("POST", [401, 403, 200]),
            ("PUT", [401, 403, 200]),
            ("DELETE", [401, 403, 403]),
            ("OPTIONS", [200, 200, 200]),
            ("PATCH", [405, 405, 405]),
        ] {
            for (client, expected) in [&nobody, &reader, &writer].into_iter().zip(expected) {
                assert_eq!(status(&app, client, method, "/docs").await, expected, "{method}");
            }
        }
        assert_eq!(table(auth), [
            "DELETE /docs: role(editor)",
            "GET /docs: permission(doc:read)",
            "OPTIONS /docs: public",
            "POST, PUT /docs: permission(doc:write)",
        ]);
    }

    async fn a_method_that_a_route_does_not_take_runs_nothing(probe: Probe) {
        let auth = &probe.auth;
        let runs = Runs::default();
        let app: Router = auth
            .router()
            .route("/read", get(runs.handler()), doc::Read)
            .route("/open", get(runs.handler()).post(runs.handler()), public())
            .into_router();
        let reader = client(&probe, "reader", &["doc:read"]).await;
        let nobody = auth.test().nobody();
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get"] {
            for client in [&reader, &nobody] {
                let request = client.request(method.parse().expect("a method"), "/read");
                let answer = request.send(&app).await;
                assert_eq!(answer.status(), 405, "{method}");
                assert_eq!(answer.headers()["allow"], "GET,HEAD", "{method}");
            }
        }
        for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
            let post = nobody.post("/read").header(name, "GET").body("text/plain", "_method=GET");
            assert_eq!(post.send(&app).await.status(), 405, "{name}");
            let get = nobody.get("/read").header(name, "OPTIONS");
            assert_eq!(get.send(&app).await.status(), 401, "{name}");
        }
        assert_eq!(runs.take(), 0);
        // HEAD is GET without a body, and has the same requirement.
        assert_eq!(status(&app, &nobody, "HEAD", "/read").await, 401);
        assert_eq!(runs.take(), 0);
        assert_eq!(status(&app, &reader, "HEAD", "/read").await, 200);
        assert_eq!(status(&app, &reader, "GET", "/read").await, 200);
        assert_eq!(status(&app, &nobody, "POST", "/open").await, 200);
        assert_eq!(runs.take(), 3);
    }

    async fn whatever_may_run_is_guarded_for_every_method(probe: Probe) {
        let auth = &probe.auth;
        let runs = Runs::default();
        let run = || runs.handler();
        let service = any(run()).with_state(());
        let app: Router = auth
            .router()
            .route("/any", any(run()), doc::Read)
            .route("/fallback", get(run()).fallback(run()), doc::Read)
            .route("/merged", get(run()).merge(any(run())), doc::Read)
            .route("/service", any_service(service.clone()), doc::Read)
            .route("/options", options(run()), doc::Read)
            .nest_service("/files", service, doc::Read)
            .fallback(any(run()), doc::Read)
            .into_router();
        let reader = client(&probe, "reader", &["doc:read"]).await;
        let none = client(&probe, "none", &[]).await;
        let nobody = auth.test().nobody();
        let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"];
        let paths = [
            "/any", "/fallback", "/merged", "/service", "/files", "/files/", "/files/a/b", "/nowhere",
        ];
        for path in paths {
            for method in methods {
                assert_eq!(status(&app, &nobody, method, path).await, 401, "{method} {path}");
                assert_eq!(status(&app, &none, method, path).await, 403, "{method} {path}");
            }
        }
        assert_eq!(status(&app, &nobody, "OPTIONS", "/options").await, 401);
        assert_eq!(runs.take(), 0);
        for path in paths {
            for method in methods {
                assert_eq!(status(&app, &reader, method, path).await, 200, "{method} {path}");
            }
        }
        assert_eq!(runs.take(), paths.len() * methods.len());
        assert_eq!(table(auth), [
            "ANY /any: permission(doc:read)",
            "ANY /fallback: permission(doc:read)",
            "ANY /files/{*path}: permission(doc:read)",
            "ANY /merged: permission(doc:read)",
            "OPTIONS /options: permission(doc:read)",
            "ANY /service: permission(doc:read)",
            "ANY /{*fallback}: permission(doc:read)",
        ]);
    }

    async fn overlapping_paths_keep_their_own_guards(probe: Probe) {
        let auth = &probe.auth;
        let id = async |Path(id): Path<String>| id;
        let app: Router = auth
            .router()
            .route("/a/{id}", get(id), auth.require(doc::Read).on_path("id"))
            .route("/a/open", get(hello), public())
            .route("/a/{id}/b", get(hello), doc::Write)
            .route("/b/{*rest}", get(id), doc::Read)
            .route("/b/open", get(hello), public())
            .into_router();
        let nobody = auth.test().nobody();
        let reader = client(&probe, "reader", &["doc:read"]).await;
        let one = client(&probe, "one", &["doc:read:1", "doc:read:open"]).await;
        for (path, expected) in [
            ("/a/open", [200, 200, 200]),
            ("/a/1", [401, 200, 200]),
            ("/a/2", [401, 200, 403]),
            // The same letters in another spelling are an id, and need the permission for it.
            ("/a/%6fpen", [401, 200, 200]),
            ("/a/OPEN", [401, 200, 403]),
            ("/a/open/", [404, 404, 404]),
            ("/a/open/b", [401, 403, 403]),
            ("/a/open%2Fb", [401, 200, 403]),
            ("/a/1%2F..%2Fopen", [401, 200, 403]),
            ("/a/../a/open", [404, 404, 404]),
            ("/a/.", [401, 200, 403]),
            ("/a//open", [404, 404, 404]),
            ("//a/open", [404, 404, 404]),
            ("/a/", [404, 404, 404]),
            ("/A/open", [404, 404, 404]),
            ("/a/open?x=/a/1", [200, 200, 200]),
            ("/b/open", [200, 200, 200]),
            ("/b/open/", [401, 200, 403]),
            ("/b/x/open", [401, 200, 403]),
            ("/b//open", [401, 200, 403]),
        ] {
            for (client, expected) in [&nobody, &reader, &one].into_iter().zip(expected) {
                assert_eq!(status(&app, client, "GET", path).await, expected, "{path} {client:?}");
            }
        }
        // The guard and the handler read the same id.
        let one = client(&probe, "slash", &["doc:read:x/y"]).await;
        assert_eq!(one.get("/a/x%2Fy").send(&app).await.text(), "x/y");
    }

    async fn nesting_and_merging_keep_guards_and_records(probe: Probe) {
        let auth = &probe.auth;
        let state = async |State(number): State<u8>| number.to_string();
        let inner = || {
            auth.router::<u8>()
                .route("/", get(state), Requirement::signed_in())
                .route("/docs/{id}", get(state), auth.require(doc::Read).on_path("org"))
                .route("/free", get(state), public())
                .fallback(any(hello), doc::Write)
        };
        let other = auth.router().route("/other", get(hello), doc::Read);
        let app: Router = auth
            .router()
            .nest("/orgs/{org}", inner().with_state(7))
            .nest("/slash/{org}/", auth.router().route("/x", get(hello), doc::Read))
            .merge(other)
            .merge(auth.router().route("/other", post(hello), doc::Write))
            .into_router();
        assert_eq!(table(auth), [
            "GET /orgs/{org}: signed_in",
            "GET /orgs/{org}/docs/{id}: permission(doc:read) on {org}",
            "GET /orgs/{org}/free: public",
            "ANY /orgs/{org}/{*fallback}: permission(doc:write)",
            "GET /other: permission(doc:read)",
            "POST /other: permission(doc:write)",
            "GET /slash/{org}/x: permission(doc:read)",
        ]);
        let nobody = auth.test().nobody();
        let acme = client(&probe, "acme", &["doc:read:acme"]).await;
        let writer = client(&probe, "writer", &["doc:write"]).await;
        for (method, path, expected) in [
            ("GET", "/orgs/acme", [401, 200, 200]),
            ("GET", "/orgs/acme/docs/1", [401, 200, 403]),
            ("GET", "/orgs/other/docs/acme", [401, 403, 403]),
            ("GET", "/orgs/acme/free", [200, 200, 200]),
            ("POST", "/orgs/acme/free", [405, 405, 405]),
            ("GET", "/orgs/acme/nowhere", [401, 403, 200]),
            ("GET", "/slash/acme/x", [401, 403, 403]),
            ("GET", "/other", [401, 403, 403]),
            ("POST", "/other", [401, 403, 200]),
            ("GET", "/nowhere", [404, 404, 404]),
        ] {
            for (client, expected) in [&nobody, &acme, &writer].into_iter().zip(expected) {
                assert_eq!(status(&app, client, method, path).await, expected, "{method} {path}");
            }
        }
        assert_eq!(acme.get("/orgs/acme").send(&app).await.text(), "7");
    }

    async fn a_plain_router_is_taken_only_by_its_dangerous_name(probe: Probe) {
        let auth = &probe.auth;
        let plain = || {
            Router::new()
                .route("/open", get(hello).delete(hello))
                .route("/any", any(hello))
                .nest("/deep", Router::new().route("/{id}", put(hello)))
        };
        let app: Router = auth
            .router()
            .danger_unguarded("/old", plain())
            .danger_unguarded("/older", Router::new().fallback(hello))
            .into_router();
        assert_eq!(status(&app, &auth.test().nobody(), "GET", "/old/open").await, 200);
        assert_eq!(table(auth), [
            "ANY /old/any: UNGUARDED",
            "PUT /old/deep/{id}: UNGUARDED",
            "GET, DELETE /old/open: UNGUARDED",
            "ANY /older/{*fallback}: UNGUARDED",
        ]);
        // `auth_routes` accepts only the routes of portcullis, and no other routes among them.
        for stranger in [
            plain(),
            auth.routes().route("/open", get(hello)),
            auth.routes().route("/login", put(hello)),
            auth.routes().nest("/deep", plain()),
            auth.routes().fallback(hello),
            Router::new().nest_service("/x", any(hello).with_state(())),
            // The paths of portcullis, but with other handlers.
            Router::new().route("/session", get(hello)),
            Router::new().route("/session", get(hello)).layer(auth.layer()),
            portcullis::login::routes(auth).route("/session", get(hello)),
            portcullis::login::routes(auth).nest("/more", Router::new().route("/login", post(hello))),
            auth.routes().route("/session", axum::routing::head(hello)),
            // A path that cannot be read could hide anything.
            auth.routes().route("/\u{1}", get(hello)),
        ] {
            let text = refusal(|| auth.router::<()>().auth_routes("/auth", stranger.clone()));
            let refused = text.contains("is no route of this instance of portcullis");
            assert!(refused || text.contains("cannot be read"), "{text}");
        }
        let all = auth.routes().merge(portcullis::anonymous::routes(auth));
        let app: Router = auth.router().auth_routes("/auth", all).into_router();
        let visitor = auth.test().nobody();
        assert_eq!(status(&app, &visitor, "POST", "/auth/session/anonymous").await, 201);
        let answer = visitor.put("/auth/login").send(&app).await;
        assert_eq!((answer.status().as_u16(), answer.code().as_str()), (405, "method_not_allowed"));
        // The routes with a prefix of their own, and the routes of another instance.
        let nested = Router::new().nest("/v1", auth.routes());
        let app: Router = auth.router().auth_routes("/api", nested).into_router();
        assert_eq!(status(&app, &visitor, "GET", "/api/v1/session").await, 401);
        assert!(table(auth).iter().all(|line| !line.contains("portcullis")), "{:?}", table(auth));
        let other = probe.rebuilt(|builder| builder);
        let text = refusal(|| auth.router::<()>().auth_routes("/auth", other.routes()));
        assert!(text.contains("is no route of this instance of portcullis"), "{text}");
        let root = probe.rebuilt(|builder| {
            builder.configure(|c| c.password.change_page = Some("/account".to_owned()))
        });
        let well_known = portcullis::password_change::well_known(&root);
        let at_root: Router = root.router().auth_routes("/", well_known).into_router();
        let path = "/.well-known/change-password";
        assert_eq!(status(&at_root, &root.test().nobody(), "GET", path).await, 303);
        assert_eq!(table(&root), [format!("GET {path}: own: anyone")]);
        let one: Router = auth.router().auth_routes("/x", portcullis::login::routes(auth)).into_router();
        assert_eq!(status(&one, &visitor, "GET", "/x/methods").await, 200);
    }

    async fn what_is_built_wrong_is_refused_at_the_start(probe: Probe) {
        let auth = &probe.auth;
        let router = || auth.router::<()>();
        let by = |name| auth.require(doc::Read).on_path(name);
        for (text, part) in [
            (refusal(|| router().route("a", get(hello), public())), "must start with a `/`"),
            (refusal(|| router().route("", get(hello), public())), "must start with a `/`"),
            (refusal(|| router().route("/:id", get(hello), public())), "must not start with `:`"),
            (
                refusal(|| {
                    let once = router().route("/a", get(hello), doc::Read);
                    once.route("/a", get(hello).post(hello), public())
                }),
                "Handler for `GET /a` already exists",
            ),
            (
                refusal(|| {
                    let once = router().route("/{a}", get(hello), doc::Read);
                    once.route("/{b}", get(hello), public())
                }),
                "/{b}",
            ),
            (
                refusal(|| {
                    let once = router().route("/a", get(hello), doc::Read);
                    once.merge(router().route("/a", get(hello), public()))
                }),
                "Handler for `GET /a` already exists",
            ),
            (refusal(|| router().route("/a", MethodRouter::new(), public())), "`/a` has no method"),
            (
                refusal(|| router().route("/docs/{id}", get(hello), by("idd"))),
                "`.on_path(\"idd\")`: the route `GET /docs/{id}` has no such parameter",
            ),
            (refusal(|| router().route("/{{id}}", get(hello), by("id"))), "has no such parameter"),
            (
                refusal(|| {
                    let maps = router().route("/map/{id}", get(hello), by("id"));
                    router().nest("/orgs/{id}", maps)
                }),
                "the route `GET /orgs/{id}/map/{id}` has more than one parameter of this name",
            ),
            (
                refusal(|| {
                    let not = Requirement::not(Requirement::typed(doc::Read)).expect("no factor");
                    router().route("/docs/{id}", get(hello), auth.require(not).on_path("id"))
                }),
                "the route `GET /docs/{id}`: `not(permission(doc:read))`",
            ),
            (
                refusal(|| {
                    let role = Requirement::role("editor");
                    let both = Requirement::all([role, doc::Read.into()]).expect("a list");
                    router().route("/docs/{id}", get(hello), auth.require(both).on_path("id"))
                }),
                "`role(..)` cannot be limited to one instance",
            ),
            (
                refusal(|| {
                    let by_header = auth.require(Requirement::role("editor")).on(|_| None);
                    router().route("/docs", get(hello), by_header)
                }),
                "`role(..)` cannot be limited to one instance",
            ),
            (refusal(|| router().nest("/", router())), "root"),
        ] {
            assert!(text.contains(part), "{text:?} says nothing of {part:?}");
        }
        // A parameter can be in the prefix, or it can be a wildcard.
        let right = router()
            .nest("/{id}", router().route("/x", get(hello), by("id")))
            .route("/files/{*path}", get(hello), by("path"));
        let _: Router = right.into_router();
        // Guards of one instance do not know who is signed in with another.
        let other = probe.rebuilt(|builder| builder);
        let foreign = || other.router().route("/x", get(hello), doc::Read);
        for text in [refusal(|| router().nest("/y", foreign())), refusal(|| router().merge(foreign()))] {
            assert!(text.contains("two instances"), "{text}");
        }
    }

    async fn layers_keep_their_places(probe: Probe) {
        let auth = &probe.auth;
        let runs = Runs::default();
        let count = runs.handler();
        let counted = axum::middleware::from_fn(
            move |request: axum::extract::Request, next: axum::middleware::Next| {
                drop(count());
                next.run(request)
            },
        );
        let greeted = axum::middleware::from_fn(
            async |who: Option<Identity>, request: axum::extract::Request, next: axum::middleware::Next| {
                let known = who.is_some();
                ([("x-known", known.to_string())], next.run(request).await).into_response()
            },
        );
        let app: Router = auth
            .router()
            // This layer is around the handler and inside the guard.
            .route("/inside", get(hello).layer(counted.clone()), doc::Read)
            .layer(greeted)
            .into_router()
            .layer(Extension(1));
        let none = client(&probe, "none", &[]).await;
        let reader = client(&probe, "reader", &["doc:read"]).await;
        let answer = none.get("/inside").send(&app).await;
        assert_eq!((answer.status().as_u16(), runs.take()), (403, 0));
        // This layer is between. It knows the identity, also for refused requests.
        assert_eq!(answer.headers()["x-known"], "true");
        let answer = auth.test().nobody().get("/inside").send(&app).await;
        assert_eq!((answer.status().as_u16(), &answer.headers()["x-known"]), (401, &"false".parse().expect("a value")));
        assert_eq!(status(&app, &reader, "GET", "/inside").await, 200);
        assert_eq!(runs.take(), 1);
        // A layer around a method router also sees methods that the router does not accept, such as
        // a preflight.
        assert_eq!(status(&app, &none, "OPTIONS", "/inside").await, 405);
        assert_eq!(runs.take(), 1);
        // In a plain router with another layer of the same instance around it, nothing changes.
        // Refusals stay the same too.
        let app = Router::new().nest("/v1", app).layer(auth.layer());
        let answer = none.get("/v1/inside").send(&app).await;
        assert_eq!((answer.status().as_u16(), answer.code().as_str()), (403, "denied"));
        assert_eq!(status(&app, &reader, "GET", "/v1/inside").await, 200);
    }

    async fn a_menu_lists_what_its_reader_may_call(probe: Probe) {
        let auth = &probe.auth;
        let menu = async |auth: Portcullis, who: Option<Identity>| {
            let routes = auth.guarded_routes();
            let lines: Vec<_> = routes.allowed(who.as_ref()).map(GuardedRoute::path).collect();
            lines.join(" ")
        };
        let fresh = Requirement::within(Duration::from_secs(60));
        let app: Router = auth
            .router()
            .route("/", get(menu), public())
            .route("/me", get(hello), Requirement::signed_in())
            .route("/docs", get(hello), doc::Read)
            .route("/docs/{id}", get(hello), auth.require(doc::Read).on_path("id"))
            .route("/fresh", get(hello), fresh)
            .danger_unguarded("/old", Router::new().route("/x", get(hello)))
            .auth_routes("/auth", auth.routes())
            .into_router();
        let one = client(&probe, "one", &["doc:read:1"]).await;
        let all = client(&probe, "all", &["doc:read"]).await;
        for (client, expected) in [
            (auth.test().nobody(), "/"),
            (auth.test().visitor(), "/"),
            (one, "/ /me"),
            (all, "/ /docs /docs/{id} /me"),
        ] {
            assert_eq!(client.get("/").send(&app).await.text(), expected, "{client:?}");
        }
    }

    async fn a_router_that_is_built_again_is_recorded_once_and_anew(probe: Probe) {
        let auth = &probe.auth;
        for _ in 0..3 {
            let _: Router = auth.router().route("/a", get(hello), public()).into_router();
        }
        assert_eq!(table(auth), ["GET /a: public"]);
        let unfinished = auth.router::<()>().route("/b", get(hello), public());
        assert_eq!(table(auth), ["GET /a: public"], "until it is finished it serves nobody");
        assert_eq!(unfinished.guarded_routes().iter().count(), 1);
        let _: Router = auth.router().route("/a", get(hello), doc::Read).into_router();
        assert_eq!(table(auth), ["GET /a: permission(doc:read)"]);
        assert_eq!(auth.guarded_routes().to_string(), "GET  /a  permission(doc:read)\n");
    }

    async fn thousands_of_routes_are_guarded_and_recorded(probe: Probe) {
        const COUNT: usize = 3000;
        let auth = &probe.auth;
        let mut router = auth.router();
        for number in 0..COUNT {
            router = router.route(&format!("/r{number:04}/{{id}}"), get(hello), doc::Read);
        }
        let app: Router = router.into_router();
        assert_eq!(auth.guarded_routes().iter().count(), COUNT);
        let reader = client(&probe, "reader", &["doc:read"]).await;
        for number in [0, 1, COUNT / 2, COUNT - 1] {
            let path = format!("/r{number:04}/x");
            assert_eq!(status(&app, &auth.test().nobody(), "GET", &path).await, 401, "{path}");
            assert_eq!(status(&app, &reader, "GET", &path).await, 200, "{path}");
        }
    }

    async fn a_guarded_route_costs_what_a_guard_costs(probe: Probe) {
        let auth = &probe.auth;
        let app: Router = auth
            .router()
            .route("/open", get(hello), public())
            .route("/read", get(hello), doc::Read)
            .into_router();
        let reader = client(&probe, "reader", &["doc:read"]).await;
        assert_eq!(status(&app, &reader, "GET", "/read").await, 200);
        for (method, path, expected) in [("GET", "/open", 0), ("GET", "/read", 1), ("POST", "/read", 0)] {
            let (_, statements) = probe.statements(status(&app, &reader, method, path)).await;
            assert_eq!(statements, expected, "{method} {path}");
        }
    }

    async fn accesses_for_sessions_let_through_the_stages_that_they_name(probe: Probe) {
        use portcullis::guard::{Caller, any_session, stage, visitor};
        use portcullis::Stage;

        let auth = &probe.auth;
        let name = async |caller: Caller| match caller {
            Caller::Nobody => "nobody",
            Caller::Visitor(_) => "visitor",
            Caller::PendingSecondFactor(_) => "second factor",
            Caller::MustChangePassword(_) => "password",
            Caller::MustEnrol(_) => "enrol",
            Caller::SignedIn(_) => "signed in",
            Caller::ApiKey(_) => "program",
        };
        let menu = async |auth: Portcullis, who: Option<Identity>| {
            let routes = auth.guarded_routes();
            let paths: Vec<_> = routes.allowed(who.as_ref()).map(GuardedRoute::path).collect();
            paths.join(" ")
        };
        let app: Router = auth
            .router()
            .route("/menu", get(menu), public())
            .route("/public", get(name), public())
            .route("/visitor", get(name), visitor())
            .route("/any", get(name), any_session())
            .route("/anonymous", get(name), stage(Stage::Anonymous))
            .route("/pending", get(name), stage(Stage::PendingSecondFactor))
            .route("/change", get(name), stage(Stage::MustChangePassword))
            .route("/enrol", get(name), stage(Stage::MustEnrol))
            .route("/full", get(name), stage(Stage::Full))
            .into_router();
        let account = probe.register("nova").await;
        let at = |stage| auth.test().login_as(&account).at_stage(stage).into_client();
        let callers = [
            (auth.test().nobody(), "nobody", "401 not_signed_in"),
            (auth.test().visitor(), "visitor", "/anonymous"),
            (at(Stage::PendingSecondFactor), "second factor", "/pending"),
            (at(Stage::MustChangePassword), "password", "/change"),
            (at(Stage::MustEnrol), "enrol", "/enrol"),
            (auth.test().login_as(&account).into_client(), "signed in", "/full"),
        ];
        for (client, who, own) in &callers {
            // First: a visitor's session, once started, belongs to this client.
            let answer = client.get("/public").send(&app).await;
            assert_eq!((answer.status().as_u16(), answer.text().as_str()), (200, *who));
            for path in ["/anonymous", "/pending", "/change", "/enrol", "/full"] {
                let answer = client.get(path).send(&app).await;
                if path == *own {
                    assert_eq!((answer.status().as_u16(), answer.text().as_str()), (200, *who));
                } else {
                    assert_eq!(answer.status(), 401, "{who} {path}");
                    let code = answer.code();
                    let expected = match (*who, path) {
                        ("nobody", _) | ("visitor", "/full") => "not_signed_in",
                        ("second factor", "/full") => "second_factor_required",
                        ("password", "/full") => "password_change_required",
                        ("enrol", "/full") => "enrolment_required",
                        _ => "wrong_stage",
                    };
                    assert_eq!(code, expected, "{who} {path}");
                }
            }
            let answer = client.get("/any").send(&app).await;
            if *who == "nobody" {
                assert_eq!((answer.status().as_u16(), answer.code().as_str()), (401, "not_signed_in"));
            } else {
                assert_eq!((answer.status().as_u16(), answer.text().as_str()), (200, *who));
            }
            // A session is started for those who have none, before the handler runs.
            let answer = client.get("/visitor").send(&app).await;
            let expected = if *who == "nobody" { "visitor" } else { who };
            assert_eq!((answer.status().as_u16(), answer.text().as_str()), (200, expected));
            assert_eq!(answer.headers().contains_key("set-cookie"), *who == "nobody", "{who}");
        }
        // The client kept the cookie.
        let (nobody, ..) = &callers[0];
        assert_eq!(nobody.get("/any").send(&app).await.text(), "visitor");
        assert_eq!(table(auth), [
            "GET /anonymous: stage(anonymous)",
            "GET /any: any session",
            "GET /change: stage(password_change_required)",
            "GET /enrol: stage(enrolment_required)",
            "GET /full: signed_in",
            "GET /menu: public",
            "GET /pending: stage(second_factor_required)",
            "GET /public: public",
            "GET /visitor: visitor",
        ]);
        // What a menu shows.
        let (nobody, full) = (auth.test().nobody(), &callers[5].0);
        assert_eq!(nobody.get("/menu").send(&app).await.text(), "/menu /public /visitor");
        assert_eq!(full.get("/menu").send(&app).await.text(), "/any /full /menu /public /visitor");
    }

    async fn a_browser_without_a_session_is_sent_to_the_login_page_by_every_access(probe: Probe) {
        use portcullis::Stage;
        use portcullis::config::Unauthenticated;
        use portcullis::guard::{any_session, stage};

        let page = Unauthenticated::LoginPage("/login".to_owned());
        let probe = probe.configured(|config| config.service.unauthenticated = page);
        let auth = &probe.auth;
        let app: Router = auth
            .router()
            .route("/me", get(hello), Requirement::signed_in())
            .route("/any", get(hello), any_session())
            .route("/code", get(hello), stage(Stage::PendingSecondFactor))
            .into_router();
        let nobody = auth.test().nobody();
        for path in ["/me", "/any", "/code"] {
            let answer = nobody.get(path).header("sec-fetch-mode", "navigate").send(&app).await;
            assert_eq!(answer.status(), 303, "{path}");
            let location = answer.headers()["location"].to_str().expect("a path");
            assert!(location.starts_with("/login?next="), "{location}");
            let answer = nobody.get(path).header("sec-fetch-mode", "cors").send(&app).await;
            assert_eq!((answer.status().as_u16(), answer.code().as_str()), (401, "not_signed_in"));
        }
        // A session at another stage has nothing to do at the login page.
        let account = probe.register("nova").await;
        let full = auth.test().login_as(&account).into_client();
        let answer = full.get("/code").header("sec-fetch-mode", "navigate").send(&app).await;
        assert_eq!((answer.status().as_u16(), answer.code().as_str()), (401, "wrong_stage"));
    }

    async fn a_path_without_a_route_is_a_problem_below_the_mount_only(probe: Probe) {
        let auth = &probe.auth;
        let own = || auth.routes::<()>();
        let part = || portcullis::login::routes::<()>(auth);
        let rest = || portcullis::own_session::routes::<()>(auth);
        let fall = || Router::new().fallback(async || "the router's own");
        let spa = || get(async || "the page");
        let plain = Router::new().nest("/auth", own().fallback(portcullis::not_found));
        let apps: [(&str, Router, &str, &str); 9] = [
            ("plain", plain.layer(auth.layer()), "/auth", ""),
            ("guarded", auth.router().auth_routes("/auth", own()).into_router(), "/auth", ""),
            ("slash", auth.router().auth_routes("/auth/", own()).into_router(), "/auth", ""),
            (
                "fallback",
                auth.router().fallback(spa(), public()).auth_routes("/auth", own()).into_router(),
                "/auth",
                "the page",
            ),
            (
                "two calls",
                auth.router().auth_routes("/auth", part()).auth_routes("/auth", rest()).into_router(),
                "/auth",
                "",
            ),
            (
                "merged",
                auth.router()
                    .auth_routes("/auth", part())
                    .merge(auth.router().auth_routes("/auth", rest()))
                    .into_router(),
                "/auth",
                "",
            ),
            (
                "nested",
                auth.router().nest("/api", auth.router().auth_routes("/auth", own())).into_router(),
                "/api/auth",
                "",
            ),
            (
                "with state",
                auth.router().auth_routes("/auth", auth.routes::<u8>()).with_state(1).into_router(),
                "/auth",
                "",
            ),
            (
                "beside a router",
                auth.router().auth_routes("/auth", own()).danger_unguarded("/old", fall()).into_router(),
                "/auth",
                "",
            ),
        ];
        let account = probe.register("nova").await;
        let clients = [auth.test().nobody(), auth.test().login_as(&account).into_client()];
        for (name, app, mount, elsewhere) in apps {
            for client in &clients {
                for path in ["/nothing", "/nothing/below", "/session/nothing"] {
                    let answer = client.get(&format!("{mount}{path}")).send(&app).await;
                    assert_eq!((answer.status().as_u16(), answer.code().as_str()), (404, "route_not_found"), "{name} {path}");
                    assert_eq!(answer.headers()["content-type"], "application/problem+json", "{name}");
                }
                let answer = client.get("/nothing").send(&app).await;
                let expected = if elsewhere.is_empty() { 404 } else { 200 };
                assert_eq!((answer.status().as_u16(), answer.text().as_str()), (expected, elsewhere), "{name}");
            }
            let signed_in = clients[1].get(&format!("{mount}/session")).send(&app).await;
            assert_eq!(signed_in.status(), 200, "{name}");
        }
        // A route of the application below the mount is still found, and so is a fallback that was
        // there first. A prefix with a parameter gets none.
        let app: Router = auth
            .router()
            .auth_routes("/auth", own())
            .route("/auth/extra", get(hello), public())
            .auth_routes("/{tenant}/auth", part())
            .into_router();
        let nobody = &clients[0];
        assert_eq!(nobody.get("/auth/extra").send(&app).await.status(), 200);
        assert_eq!(nobody.get("/acme/auth/nothing").send(&app).await.text(), "");
        let app: Router =
            auth.router().auth_routes("/auth", own()).danger_unguarded("/auth", fall()).into_router();
        assert_eq!(nobody.get("/auth/nothing").send(&app).await.text(), "the router's own");
    }

    async fn an_ended_session_and_two_credentials_are_told_apart_for_a_caller(probe: Probe) {
        use portcullis::guard::{Caller, any_session};

        let probe = probe.configured(|config| config.service.bearer = true);
        let auth = &probe.auth;
        let app: Router = auth
            .router()
            .route("/who", get(async |caller: Caller| format!("{:?}", caller.stage())), public())
            .route("/any", get(hello), any_session())
            .into_router();
        let account = probe.register("nova").await;
        let client = auth.test().login_as(&account).into_client();
        assert_eq!(client.get("/who").send(&app).await.text(), "Some(Full)");
        auth.sessions().end_all(account.id(), None).await.expect("they end");
        assert_eq!(client.get("/who").send(&app).await.text(), "None");
        let answer = client.get("/any").send(&app).await;
        assert_eq!((answer.status().as_u16(), answer.code().as_str()), (401, "session_ended"));
        // Two bearer tokens, and a bearer token beside the cookie of another session. Each of them
        // counts alone.
        let account = auth.accounts().find(account.id()).await.expect("it answers").expect("nova");
        let bearer = async || {
            let start = auth.sessions().start(&account, &ClientInfo::default());
            let issued = start.transport(Transport::Bearer).await.expect("a session");
            format!("Bearer {}", issued.token().expect("a token"))
        };
        let cookie = async || {
            let start = auth.sessions().start(&account, &ClientInfo::default());
            cookie_of(&start.await.expect("a session"))
        };
        let (one, other, cookie) = (bearer().await, bearer().await, cookie().await);
        for (headers, expected) in [
            (vec![("authorization", &one)], (200, "")),
            (vec![("cookie", &cookie)], (200, "")),
            (vec![("authorization", &one), ("authorization", &other)], (400, "multiple_credentials")),
            (vec![("authorization", &one), ("cookie", &cookie)], (400, "multiple_credentials")),
        ] {
            for path in ["/who", "/any"] {
                let mut request = request("GET", path);
                for (name, value) in &headers {
                    request = request.header(*name, value.as_str());
                }
                let answer = call(&app, request.body(Body::empty()).expect("a request")).await;
                let code = if answer.status == 200 { String::new() } else { answer.code() };
                assert_eq!((answer.status, code.as_str()), expected, "{path} {headers:?}");
            }
        }
    }

    async fn what_another_site_sends_does_not_change_anything_on_a_public_route(probe: Probe) {
        use portcullis::guard::visitor;

        let auth = &probe.auth;
        let runs = Runs::default();
        let run = || runs.handler();
        let every = || get(run()).post(run()).put(run()).patch(run()).delete(run()).options(run());
        let service = any(run()).with_state(());
        let app: Router = auth
            .router()
            .route("/public", every(), public())
            .route("/visitor", every(), visitor())
            .route("/anywhere", every(), public().from_anywhere())
            .nest_service("/files", service, public())
            .fallback(any(run()), public())
            .into_router();
        let account = probe.register("nova").await;
        let client = auth.test().login_as(&account).into_client();
        let nobody = auth.test().nobody();
        let unsafe_methods = ["POST", "PUT", "PATCH", "DELETE"];
        let cross_site: [(&str, &str); 3] = [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "https://evil.example"),
        ];
        let send = async |client: &TestClient, method: &str, path: &str, (name, value)| {
            let method = method.parse::<Method>().expect("a method");
            let request = client.request(method, path);
            let request = request.without_header("sec-fetch-site").without_header("origin");
            request.header(name, value).send(&app).await
        };
        for path in ["/public", "/files/x", "/nowhere"] {
            for method in unsafe_methods {
                for header in cross_site {
                    for client in [&nobody, &client] {
                        let answer = send(client, method, path, header).await;
                        assert_eq!(answer.status(), 403, "{method} {path} {header:?}");
                        assert_eq!(answer.code(), "cross_site_request");
                    }
                }
            }
            assert_eq!(runs.take(), 0, "{path}");
            for header in [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "none"), ("x-no", "header")] {
                assert_eq!(send(&nobody, "POST", path, header).await.status(), 200, "{path} {header:?}");
            }
            for method in ["GET", "HEAD", "OPTIONS"] {
                assert_eq!(send(&nobody, method, path, cross_site[0]).await.status(), 200);
            }
            assert_eq!(runs.take(), 6, "{path}");
        }
        // A WebSocket handshake is a GET that a page of another site could use.
        let open = async |client: &TestClient, path: &str, header: (&str, &str)| {
            let request = client.get(path).header("upgrade", "websocket");
            let request = request.header("connection", "upgrade");
            let request = request.without_header("sec-fetch-site").without_header("origin");
            request.header(header.0, header.1).send(&app).await
        };
        for path in ["/public", "/files/x", "/nowhere"] {
            for client in [&nobody, &client] {
                for header in cross_site {
                    let answer = open(client, path, header).await;
                    assert_eq!(answer.status(), 403, "{path} {header:?}");
                    assert_eq!(answer.code(), "cross_site_request");
                }
                assert_eq!(runs.take(), 0, "{path}");
                let ours = [("sec-fetch-site", "same-origin"), ("x-no", "header")];
                for header in ours {
                    assert_eq!(open(client, path, header).await.status(), 200, "{path} {header:?}");
                }
                assert_eq!(runs.take(), ours.len(), "{path}");
            }
        }
        assert_eq!(open(&nobody, "/anywhere", cross_site[0]).await.status(), 200);
        assert_eq!(runs.take(), 1);
        // Nobody's visitor session is started for it either.
        assert_eq!(send(&nobody, "POST", "/visitor", cross_site[0]).await.code(), "cross_site_request");
        assert_eq!(runs.take(), 0);
        for method in unsafe_methods {
            for header in cross_site {
                assert_eq!(send(&nobody, method, "/anywhere", header).await.status(), 200);
            }
        }
        assert_eq!(runs.take(), 12);
        assert!(table(auth).iter().any(|line| line.ends_with("/anywhere: public, from anywhere")));
        // A bearer token in a header is no browser's.
        let probe = probe.configured(|config| config.service.bearer = true);
        let app: Router =
            probe.auth.router().route("/public", post(hello), public()).into_router();
        let client = portcullis::ClientInfo::default();
        let start = probe.auth.sessions().start(&account, &client);
        let issued = start.transport(portcullis::Transport::Bearer).await.expect("a session");
        let token = issued.token().expect("a bearer token");
        let answer = probe.auth.test().nobody().post("/public");
        let answer = answer.header("authorization", &format!("Bearer {token}"));
        let answer = answer.header("sec-fetch-site", "cross-site");
        assert_eq!(answer.send(&app).await.status(), 200);
    }
}
