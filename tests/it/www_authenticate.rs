//! The `WWW-Authenticate` header of a 401.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use portcullis::{Factor, Requirement};

use crate::on_every_database;
use crate::support::call::{call, request};

const FIVE_MINUTES: Duration = Duration::from_secs(300);

/// A 401 of the application itself.
async fn own() -> impl IntoResponse {
    (StatusCode::UNAUTHORIZED, [("www-authenticate", "Bearer realm=\"mine\"")], "mine")
}

on_every_database! {
    async fn it_names_what_is_taken_here(probe: Probe) {
        const COOKIE: &str = "Cookie cookie-name=\"__Host-session\"";
        for (bearer, scheme, separator) in [(false, COOKIE, ", "), (true, "Bearer", " ")] {
            let auth = probe.rebuilt(|builder| builder.configure(|c| c.service.bearer = bearer));
            let app: Router = Router::new()
                .route("/fresh", get(async || "fresh"))
                .route_layer(auth.require(Requirement::within(FIVE_MINUTES)))
                .route("/own", get(own))
                .nest("/auth", auth.routes())
                .layer(auth.layer());
            let challenge = async |path: &str| {
                let request = request("GET", path).body(Body::empty()).expect("a request");
                let answer = call(&app, request).await;
                assert_eq!(answer.status, 401, "{path}");
                let values: Vec<_> = answer.headers.get_all("www-authenticate").iter().collect();
                assert_eq!(values.len(), 1, "{values:?}");
                values[0].to_str().expect("it is ASCII").to_owned()
            };
            assert_eq!(challenge("/fresh").await, scheme);
            assert_eq!(challenge("/auth/sessions").await, scheme);
            // The application's own answer is not changed.
            assert_eq!(challenge("/own").await, "Bearer realm=\"mine\"");
            // The parameters of RFC 9470 for a step-up stay.
            let alice = probe.register(&format!("alice-{bearer}")).await;
            let old = auth.test().login_as(&alice).with_factors([(Factor::Password, FIVE_MINUTES)]);
            let answer = old.get("/fresh").send(&app).await;
            let told = answer.headers()["www-authenticate"].to_str().expect("it is ASCII");
            let error = "error=\"insufficient_user_authentication\", \
                         acr_values=\"urn:portcullis:factor:password\", max_age=\"300\"";
            assert_eq!(told, format!("{scheme}{separator}{error}"));
        }
    }
}
