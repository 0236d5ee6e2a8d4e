//! The extractor of `Authorization: Basic`.

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use portcullis::login::BasicCredentials;
use portcullis::{ClientInfo, Issued, Portcullis, Rejection};

use crate::on_every_database;
use crate::support::PASSWORD;
use crate::support::call::{Called, call, request};

async fn needed(basic: BasicCredentials) -> String {
    let printed = format!("{basic:?}");
    assert_eq!(printed, "BasicCredentials(..)");
    format!("{} / {}", basic.login(), basic.password())
}

async fn optional(basic: Option<BasicCredentials>) -> String {
    basic.map_or("nobody".to_owned(), |basic| basic.login().to_owned())
}

async fn sign_in(
    auth: Portcullis,
    basic: BasicCredentials,
    client: ClientInfo,
) -> Result<(Issued, &'static str), Rejection> {
    let outcome = auth.login().with_password(basic.into(), &client).await?;
    Ok((outcome.into_issued(), "welcome"))
}

fn encoded(text: &str) -> String {
    format!("Basic {}", data_encoding::BASE64.encode(text.as_bytes()))
}

async fn ask(app: &Router, method: &str, path: &str, headers: &[&str]) -> Called {
    let mut request = request(method, path);
    for header in headers {
        request = request.header("authorization", *header);
    }
    call(app, request.body(Body::empty()).expect("a request")).await
}

#[tokio::test]
async fn a_name_and_a_password_are_taken_and_everything_else_is_refused() {
    let app = Router::new().route("/needed", get(needed)).route("/optional", get(optional));
    for (sent, read) in [
        (encoded("alice:secret"), "alice / secret"),
        (encoded("alice:a:b: c"), "alice / a:b: c"),
        (encoded("alice:"), "alice / "),
        (encoded("\u{e4}lice:p\u{e4}ss"), "\u{e4}lice / p\u{e4}ss"),
        (encoded("alice:secret").replace("Basic ", "bAsIc   "), "alice / secret"),
    ] {
        let answer = ask(&app, "GET", "/needed", &[&sent]).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, read), "{sent}");
    }
    let good = encoded("alice:secret");
    for malformed in [
        &["Basic"][..],
        &["Basic "],
        &["Basic ????"],
        &["Basic YWxpY2U"],
        &[&encoded("alice")],
        &[&encoded(":secret")],
        &[&encoded("al\nice:secret")],
        &[&encoded("alice:sec\0ret")],
        &["Basic /////w=="],
        &[&good, &good],
        &[&good, "Bearer x"],
    ] {
        for path in ["/needed", "/optional"] {
            let answer = ask(&app, "GET", path, malformed).await;
            let told = (answer.status, answer.code());
            assert_eq!(told, (400, "invalid_basic_authorization".to_owned()), "{malformed:?}");
            assert!(!answer.text.contains("secret"), "{}", answer.text);
        }
    }
    for other in [&[][..], &["Bearer eyJ"], &["Basics YWxpY2U6"], &[""]] {
        let answer = ask(&app, "GET", "/needed", other).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "basic_authorization_required"));
        let challenge = answer.headers["www-authenticate"].to_str().expect("ASCII");
        assert!(challenge.starts_with("Basic realm="), "{challenge}");
        let answer = ask(&app, "GET", "/optional", other).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, "nobody"), "{other:?}");
    }
}

on_every_database! {
    async fn a_handler_signs_in_with_what_was_extracted(probe: Probe) {
        probe.register("alice").await;
        let app = Router::new()
            .route("/sign-in", post(sign_in))
            .layer(probe.auth.layer());
        let answer = ask(&app, "POST", "/sign-in", &[&encoded(&format!("alice:{PASSWORD}"))]).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, "welcome"));
        assert!(answer.headers.contains_key("set-cookie"));
        let answer = ask(&app, "POST", "/sign-in", &[&encoded("alice:wrong")]).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "invalid_credentials"));
        assert!(!answer.headers.contains_key("set-cookie"));
    }
}
