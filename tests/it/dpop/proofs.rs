//! What a proof must say. One database is enough: no refused proof reaches it.

use portcullis::{Clock, Secret};

use super::*;

/// A change of a proof, and what the answer then says.
type Wrong = (&'static str, &'static str, fn(&mut Value));

#[tokio::test]
async fn a_proof_for_anything_else_is_refused_without_a_statement() {
    crate::support::probe::run(Backend::Sqlite, async |probe: Probe| {
        let probe = probe.configured(clients);
        let auth = probe.auth.clone();
        let bound = Bound::of(&auth, &alice(&probe).await, ClientKey::ed25519(1)).await;
        let url = format!("{PUBLIC}/films");
        let good = || claims("GET", &url, Some(&bound.token), &bound.nonce);
        let invalid = "invalid_dpop_proof";
        let table: [Wrong; 21] = [
            (invalid, "htm", |claims| claims["htm"] = "POST".into()),
            (invalid, "htm", |claims| claims["htm"] = "get".into()),
            (invalid, "htu", |claims| claims["htu"] = "https://example.com/".into()),
            (invalid, "htu", |claims| claims["htu"] = "https://example.com/films/".into()),
            (invalid, "htu", |claims| claims["htu"] = "https://example.com/Films".into()),
            (invalid, "htu", |claims| claims["htu"] = "http://example.com/films".into()),
            (invalid, "htu", |claims| claims["htu"] = "https://example.org/films".into()),
            (invalid, "htu", |claims| claims["htu"] = "https://example.com:444/films".into()),
            (invalid, "htu", |claims| {
                claims["htu"] = "https://example.com.evil.example/films".into();
            }),
            (invalid, "htu", |claims| claims["htu"] = "/films".into()),
            (invalid, "htu", |claims| claims["htu"] = "".into()),
            (invalid, "ath", |claims| drop(claims.as_object_mut().expect("one").remove("ath"))),
            (invalid, "ath", |claims| claims["ath"] = "".into()),
            (invalid, "ath", |claims| claims["ath"] = "A".repeat(43).into()),
            (invalid, "jti", |claims| drop(claims.as_object_mut().expect("one").remove("jti"))),
            (invalid, "jti", |claims| claims["jti"] = "".into()),
            (invalid, "iat", |claims| drop(claims.as_object_mut().expect("one").remove("iat"))),
            ("use_dpop_nonce", "nonce", |claims| {
                drop(claims.as_object_mut().expect("one").remove("nonce"));
            }),
            ("use_dpop_nonce", "nonce", |claims| claims["nonce"] = "".into()),
            ("use_dpop_nonce", "nonce", |claims| claims["nonce"] = Value::Null),
            ("use_dpop_nonce", "nonce", |claims| claims["nonce"] = "A".repeat(32).into()),
        ];
        for (code, names, change) in table {
            let mut claims = good();
            change(&mut claims);
            let proof = bound.key.sign(&claims, |_| {});
            let (answer, statements) =
                probe.statements(bound.with(Method::GET, "/films", &[&proof])).await;
            check_refused(&answer, code);
            let detail = answer.json()["detail"].as_str().expect("a text").to_lowercase();
            assert!(detail.contains(names), "{claims}: {detail}");
            assert_eq!(statements, 0, "{claims}");
            assert_eq!(answer.headers.contains_key("dpop-nonce"), code == "use_dpop_nonce");
        }
        for changed in ["HTTPS://EXAMPLE.COM:443/films", "https://example.com/film%73?a=b#c"] {
            let mut claims = good();
            claims["htu"] = changed.into();
            let proof = bound.key.sign(&claims, |_| {});
            let answer = bound.with(Method::GET, "/films", &[&proof]).await;
            assert_eq!(answer.status, 200, "{changed}: {}", answer.text);
        }
        let (one, two) = (bound.proof("GET", "/films"), bound.proof("GET", "/films"));
        check_refused(&bound.with(Method::GET, "/films", &[&one, &two]).await, invalid);
        check_refused(
            &bound.with(Method::GET, "/films", &[&format!("{one}, {two}")]).await,
            invalid,
        );
        check_refused(&bound.with(Method::GET, "/films", &["nonsense"]).await, invalid);
        let unsigned = bound.key.sign(&good(), |header| header["alg"] = "none".into());
        check_refused(&bound.with(Method::GET, "/films", &[&unsigned]).await, invalid);
        // The token of the session is signed by the service, and is no proof.
        check_refused(&bound.with(Method::GET, "/films", &[&bound.token]).await, invalid);
        assert_eq!(bound.get("/films?a=b").await.status, 200, "a query does not count");
    })
    .await;
}

#[tokio::test]
async fn without_a_nonce_the_time_of_the_proof_counts() {
    crate::support::probe::run(Backend::Sqlite, async |probe: Probe| {
        let probe = probe.configured(|config| {
            clients(config);
            config.dpop.require_nonce = false;
            config.dpop.lifetime = MINUTE;
        });
        let auth = probe.auth.clone();
        let account = alice(&probe).await;
        let key = ClientKey::ed25519(1);
        let device = Browser::new(serve(application(&auth)).await);
        let now = || probe.clock.now().as_millis() / 1000;
        let timed = |path: &str, method: &str, token: Option<&str>, at: i64| {
            let mut claims = claims(method, &format!("{PUBLIC}{path}"), token, "");
            claims["iat"] = at.into();
            key.sign(&claims, |_| {})
        };
        let started = start(&device, "client_id=tv", None).await;
        approve(&auth, &account, &started).await;
        let proof = timed("/auth/device/token", "POST", None, now());
        let answer = poll(&device, "tv", &started, Some(&proof)).await;
        let token = answer.json()["access_token"].as_str().expect("a token").to_owned();
        for (at, accepted) in [
            (0, true),
            (-60, true),
            (-61, false),
            (30, true),
            (31, false),
            (-1_000_000, false),
            (i64::MAX / 4, false),
            (i64::MIN / 4, false),
        ] {
            let proof = timed("/films", "GET", Some(&token), now().saturating_add(at));
            let request = device.raw(Method::GET, "/films").header("dpop", proof);
            let answer = send(request.header("authorization", format!("dpop {token}"))).await;
            assert_eq!(answer.status, if accepted { 200 } else { 401 }, "{at}: {}", answer.text);
            if !accepted {
                check_refused(&answer, "invalid_dpop_proof");
            }
            assert!(!answer.headers.contains_key("dpop-nonce"));
        }
    })
    .await;
}

#[tokio::test]
async fn the_url_is_that_which_clients_use() {
    crate::support::probe::run(Backend::Sqlite, async |probe: Probe| {
        let probe = probe.configured(|config| {
            clients(config);
            config.service.public_url = Some("https://example.com/app".to_owned());
            config.dpop.origins = vec!["https://API.example.com:443".to_owned()];
        });
        let auth = probe.auth.clone();
        let account = alice(&probe).await;
        let key = ClientKey::ed25519(1);
        // The service is mounted below another router, and a proxy removes `/app`.
        let nested = Router::new().nest("/inner", application(&auth));
        let device = Browser::new(serve(nested).await);
        let path = "/inner/auth/device";
        let signed = |method: &str, url: String, token: Option<&str>, nonce: &str| {
            key.sign(&claims(method, &url, token, nonce), |_| {})
        };
        let proof = signed("POST", format!("https://example.com/app{path}"), None, "");
        let nonce =
            refused(&form(&device, path, "client_id=tv", Some(&proof)).await, "use_dpop_nonce");
        let started = start_at(&device, path).await;
        approve(&auth, &account, &started).await;
        let url = format!("https://example.com/app{path}/token");
        let code = started["device_code"].as_str().expect("a code");
        let body = format!("grant_type={GRANT}&device_code={code}&client_id=tv");
        let proof = signed("POST", url, None, &nonce);
        let answer = form(&device, &format!("{path}/token"), &body, Some(&proof)).await;
        let token = answer.json()["access_token"].as_str().expect("a token").to_owned();
        for (url, accepted) in [
            ("https://example.com/app/inner/films", true),
            ("https://example.com/inner/films", true),
            ("https://api.example.com/app/inner/films", true),
            ("https://api.example.com/inner/films", true),
            ("https://example.com/films", false),
            ("https://example.com/app/films", false),
            ("https://example.com/app/app/inner/films", false),
            ("https://other.example.com/inner/films", false),
        ] {
            let proof = signed("GET", url.to_owned(), Some(&token), &nonce);
            let request = device.raw(Method::GET, "/inner/films").header("dpop", proof);
            // The sender chooses the host, so it proves nothing.
            let request = request.header("host", "other.example.com");
            let answer = send(request.header("authorization", format!("DPoP {token}"))).await;
            assert_eq!(answer.status, if accepted { 200 } else { 401 }, "{url}: {}", answer.text);
        }
        // The proxy makes `/` of `/app`.
        let root = Browser::new(serve(application(&auth)).await);
        for (url, accepted) in [
            ("https://example.com/app", true),
            ("https://example.com/app/", true),
            ("https://example.com", true),
            ("https://example.com/ap", false),
            ("https://example.com/apps", false),
        ] {
            let proof = signed("GET", url.to_owned(), Some(&token), &nonce);
            let request = root.raw(Method::GET, "/").header("dpop", proof);
            let answer = send(request.header("authorization", format!("DPoP {token}"))).await;
            assert_eq!(answer.status, if accepted { 200 } else { 401 }, "{url}: {}", answer.text);
        }
    })
    .await;
}

async fn start_at(device: &Browser, path: &str) -> Value {
    let answer = form(device, path, "client_id=tv", None).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

#[test]
fn limits_of_the_settings_are_checked() {
    let build = |change: fn(&mut Config)| {
        {
            let db = sea_orm::DatabaseConnection::default();
            Portcullis::builder(db).secret(Secret::generate()).configure(change)
        }
        .build()
        .map(drop)
        .map_err(|errors| errors.to_string())
    };
    type Change = (fn(&mut Config), bool);
    let table: [Change; 6] = [
        (|config| config.dpop.lifetime = 9 * SECOND, false),
        (|config| config.dpop.lifetime = 10 * SECOND, true),
        (|config| config.dpop.lifetime = 15 * MINUTE, true),
        (|config| config.dpop.lifetime = 15 * MINUTE + SECOND, false),
        (|config| config.dpop.origins = vec!["https://a.example".into()], true),
        (|config| config.dpop.origins = vec!["a.example".into()], false),
    ];
    for (at, (change, accepted)) in table.into_iter().enumerate() {
        let built = build(change);
        assert_eq!(built.is_ok(), accepted, "{at}: {built:?}");
        if let Err(text) = built {
            assert!(text.contains("dpop."), "{text}");
        }
    }
}
