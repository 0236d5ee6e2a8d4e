//! Making, listing, limiting, rotating and revoking API keys: by their owner, by the application, and by
//! nobody else.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use portcullis::account::NewAccount;
use portcullis::account_recovery::{NewRecovery, RecoveryActor};
use portcullis::guard::AcceptedCredentials;
use portcullis::own_api_key::{ApiKeyError, NewApiKey};
use portcullis::{
    Account, ApiKeyId, ApiKeyIdentity, ClientInfo, Factor, JobError, MessageKind, Permission,
    Portcullis, Principal, Requirement,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::api_key::{grant, key_of, with_keys};
use crate::on_every_database;
use crate::race::parallel;
use crate::support::browser::{Answer, send};
use crate::support::call::cookie_of;
use crate::support::probe::{app, serve};
use crate::support::{Browser, PASSWORD, Probe};
use crate::totp::{check, code, person, step_up};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn application(auth: &Portcullis) -> Router {
    let read = Requirement::permission("report:read").expect("a permission");
    let guard = auth.require(read).credentials(AcceptedCredentials::SessionOrApiKey);
    let reports = get(|who: Principal| async move { who.account().id().to_string() });
    Router::new()
        .route("/reports", reports)
        .route_layer(guard)
        .route(
            "/account-of-key",
            get(|who: ApiKeyIdentity| async move { who.account().id().to_string() }),
        )
        .layer(auth.layer())
        .merge(portcullis::own_api_key::routes(auth))
        .nest("/lost", portcullis::account_recovery::routes(auth))
        .merge(app(auth))
}

/// A person with a session and these permissions.
async fn signed_in(probe: &Probe, name: &str, permissions: &[&str]) -> (Account, Browser) {
    let account = probe.register(name).await;
    grant(probe, &account, permissions).await;
    let mut browser = Browser::new(serve(application(&probe.auth)).await);
    assert_eq!(browser.login(name, PASSWORD).await.status, 200);
    (account, browser)
}

async fn make(browser: &mut Browser, name: &str, scopes: &[&str]) -> Answer {
    browser.post("/api-keys", json!({ "name": name, "scopes": scopes })).await
}

/// The id and the text of a new key.
async fn made(browser: &mut Browser, name: &str, scopes: &[&str]) -> (String, String) {
    let answer = make(browser, name, scopes).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    text_of(&answer.json())
}

fn text_of(body: &Value) -> (String, String) {
    let text = |member: &str| body[member].as_str().expect("a text").to_owned();
    (text("id"), text("key"))
}

async fn ask(browser: &Browser, key: &str) -> u16 {
    let request = browser.raw(Method::GET, "/reports");
    send(request.header("authorization", format!("Bearer {key}"))).await.status
}

async fn listed(browser: &mut Browser) -> Vec<Value> {
    let answer = browser.get("/api-keys").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["api_keys"].as_array().expect("a list").clone()
}

/// The details of these events. In place of an id and the beginning of a key, it says `a key`.
async fn events(probe: &Probe, kind: &str) -> Vec<String> {
    let query = format!("SELECT detail FROM auth_event WHERE kind = '{kind}' ORDER BY at, id");
    let details = probe.texts(&query).await;
    let without_id = |detail: String| match detail.split_once(' ') {
        Some((id, rest)) if id.parse::<ApiKeyId>().is_ok() => {
            if rest.starts_with("acme_") {
                "a key".to_owned()
            } else {
                rest.to_owned()
            }
        }
        _ => detail,
    };
    details.into_iter().map(without_id).collect()
}

fn name<T>(result: Result<T, ApiKeyError>) -> String {
    let error = format!("{:?}", result.err().expect("it is refused"));
    error.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
}

on_every_database! {
    async fn an_owner_makes_lists_limits_and_revokes_a_key(probe: Probe) {
        let probe = with_keys(probe);
        let (_, mut browser) = signed_in(&probe, "alice", &["report:read", "report:write"]).await;
        let began = probe.auth_now();
        let body = json!({ "name": "  build server ", "scopes": ["report:read", "report:read"], "lifetime": 86_400 });
        let answer = browser.post("/api-keys", body).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let shown = answer.json();
        let (id, key) = text_of(&shown);
        assert_eq!((&shown["name"], &shown["scopes"]), (&json!("build server"), &json!(["report:read"])));
        assert_eq!(shown["expires_at"], json!(began.plus(DAY)));
        assert_eq!(shown["hint"].as_str().expect("a hint"), &key[..9]);
        assert_eq!((&shown["first_id"], &shown["last_used_at"]), (&json!(id), &Value::Null));
        assert_eq!(ask(&browser, &key).await, 200);
        let list = listed(&mut browser).await;
        assert_eq!(list.len(), 1);
        assert_eq!(list[0]["last_used_at"], json!(began));
        // Nothing but the answer has the key.
        assert!(list[0].get("key").is_none() && !list[0].to_string().contains(&key[9..]));
        let secret = key[9..].to_owned();
        for table in ["auth_api_key", "auth_event", "auth_outbox"] {
            let rows = probe.dump(table).await.join("\n");
            assert!(!rows.contains(&secret) && !rows.contains(&key), "{table}: {rows}");
        }
        let scopes = json!({ "scopes": ["report:write"] });
        assert_eq!(browser.put(&format!("/api-keys/{id}/scopes"), scopes).await.status, 204);
        assert_eq!(ask(&browser, &key).await, 403);
        assert_eq!(browser.delete(&format!("/api-keys/{id}")).await.status, 204);
        assert_eq!(ask(&browser, &key).await, 401);
        assert!(listed(&mut browser).await.is_empty());
        check(&browser.delete(&format!("/api-keys/{id}")).await, 404, "api_key_not_found");
        probe.clock.advance(Duration::from_millis(1));
        let (second, key) = made(&mut browser, "by form", &[]).await;
        assert_eq!(browser.post_empty(&format!("/api-keys/{second}/revoke")).await.status, 204);
        assert_eq!(ask(&browser, &key).await, 401);
        assert_eq!(events(&probe, "api_key_issued").await, ["a key", "a key"]);
        assert_eq!(events(&probe, "api_key_scoped").await, ["report:write"]);
        assert_eq!(events(&probe, "api_key_revoked").await, ["a key", "a key"]);
    }

    async fn the_owner_is_told_of_a_new_key(probe: Probe) {
        let probe = with_keys(probe);
        let (_, mut browser, _) = person(&probe, "alice").await;
        browser.address = serve(application(&probe.auth)).await;
        let (id, _) = made(&mut browser, "robot", &[]).await;
        let rotated = browser.post(&format!("/api-keys/{id}/rotate"), json!({})).await;
        assert_eq!(rotated.status, 201, "{}", rotated.text);
        let sent = probe.mail().await.into_iter().filter(|mail| mail.kind == MessageKind::ApiKeyIssued);
        let sent: Vec<_> = sent.collect();
        assert_eq!(sent.len(), 2);
        let changed = probe.mail().await.into_iter().filter(|mail| mail.kind == MessageKind::ApiKeyChanged);
        assert_eq!(changed.count(), 0);
        for mail in sent {
            assert_eq!(mail.to.as_str(), "alice@example.com");
            assert!(mail.text.contains("\"robot\"") && mail.text.contains("127.0.0.1"), "{}", mail.text);
            assert!(!mail.text.contains("acme_"), "{}", mail.text);
        }
    }

    async fn what_cannot_be_a_key_is_refused_and_changes_nothing(probe: Probe) {
        let probe = with_keys(probe);
        let (_, mut browser) = signed_in(&probe, "alice", &["report:read", "doc:*:7", "list"]).await;
        let (id, _) = made(&mut browser, "good", &["report:read"]).await;
        let long = "x".repeat(65);
        let many: Vec<String> = (0..51).map(|n| format!("list:a{n}")).collect();
        let huge = vec![format!("list:{}", "y".repeat(240)); 20];
        for (body, field, code) in [
            (json!({ "name": "", "scopes": [] }), "name", "required"),
            (json!({ "name": "   ", "scopes": [] }), "name", "required"),
            (json!({ "name": long, "scopes": [] }), "name", "too_long"),
            (json!({ "name": "a\u{7}b", "scopes": [] }), "name", "invalid_character"),
            (json!({ "name": "a\u{0}b", "scopes": [] }), "name", "invalid_character"),
            (json!({ "name": "a", "scopes": ["report:write"] }), "scopes", "not_held"),
            (json!({ "name": "a", "scopes": ["report"] }), "scopes", "not_held"),
            (json!({ "name": "a", "scopes": ["report:*"] }), "scopes", "not_held"),
            (json!({ "name": "a", "scopes": ["*"] }), "scopes", "not_held"),
            (json!({ "name": "a", "scopes": ["doc:read:8"] }), "scopes", "not_held"),
            (json!({ "name": "a", "scopes": ["report:read", "report:read,write"] }), "scopes", "not_held"),
            (json!({ "name": "a", "scopes": ["auth-account:manage"] }), "scopes", "reserved"),
            (json!({ "name": "a", "scopes": ["list,auth-account"] }), "scopes", "reserved"),
            (json!({ "name": "a", "scopes": [""] }), "scopes", "invalid"),
            (json!({ "name": "a", "scopes": ["report:read report:write"] }), "scopes", "invalid"),
            (json!({ "name": "a", "scopes": ["report::read"] }), "scopes", "invalid"),
            (json!({ "name": "a", "scopes": many }), "scopes", "too_many"),
            (json!({ "name": "a", "scopes": huge }), "scopes", "too_many"),
            (json!({ "name": "a", "scopes": [], "lifetime": 59 }), "lifetime", "out_of_range"),
            (json!({ "name": "a", "scopes": [], "lifetime": 0 }), "lifetime", "out_of_range"),
            (json!({ "name": "a", "scopes": [], "lifetime": 366 * 86_400 + 1 }), "lifetime", "out_of_range"),
            (json!({ "name": "a", "scopes": [], "lifetime": u64::MAX }), "lifetime", "out_of_range"),
        ] {
            let answer = browser.post("/api-keys", body.clone()).await;
            check(&answer, 422, "invalid_fields");
            assert_eq!(answer.field_codes(field), [code], "{body}");
        }
        let several = browser.post("/api-keys", json!({ "name": "", "scopes": ["*"], "lifetime": 1 })).await;
        for (field, code) in [("name", "required"), ("scopes", "not_held"), ("lifetime", "out_of_range")] {
            assert_eq!(several.field_codes(field), [code]);
        }
        for body in [
            json!({ "name": "a" }),
            json!({ "scopes": [] }),
            json!({ "name": "a", "scopes": "report:read" }),
            json!({ "name": "a", "scopes": [], "account_id": "someone" }),
            json!({ "name": "a", "scopes": [], "expires_at": 1 }),
            json!({ "name": "a", "scopes": [], "lifetime": -1 }),
            json!({ "name": 7, "scopes": [] }),
            json!([]),
        ] {
            check(&browser.post("/api-keys", body).await, 400, "invalid_body");
        }
        let twice = browser.request(Method::POST, "/api-keys").header("content-type", "application/json");
        let twice = twice.body(r#"{"name": "a", "name": "b", "scopes": []}"#);
        check(&send(twice).await, 400, "invalid_body");
        let form = browser.request(Method::POST, "/api-keys").form(&[("name", "a"), ("scopes", "list")]);
        check(&send(form).await, 415, "unsupported_media_type");
        for (body, code) in [
            (json!({ "scopes": ["report:write"] }), "not_held"),
            (json!({ "scopes": ["auth-account"] }), "reserved"),
        ] {
            let answer = browser.put(&format!("/api-keys/{id}/scopes"), body).await;
            check(&answer, 422, "invalid_fields");
            assert_eq!(answer.field_codes("scopes"), [code]);
        }
        let far = browser.post(&format!("/api-keys/{id}/rotate"), json!({ "overlap": 86_401 })).await;
        check(&far, 422, "invalid_fields");
        let list = listed(&mut browser).await;
        assert_eq!((list.len(), &list[0]["scopes"]), (1, &json!(["report:read"])));
        // The neighbours.
        made(&mut browser, &"é".repeat(64), &["doc:read:7", "list:anything:at:all", "list"]).await;
        let longest = json!({ "name": "long", "scopes": [], "lifetime": 366 * 86_400 });
        assert_eq!(browser.post("/api-keys", longest).await.status, 201);
    }

    async fn a_new_key_needs_a_recent_factor_and_a_second_one_if_there_is_one(probe: Probe) {
        let probe = with_keys(probe);
        let (_, mut browser) = signed_in(&probe, "alice", &[]).await;
        let (id, _) = made(&mut browser, "one", &[]).await;
        probe.clock.advance(HOUR);
        // It gets a new cookie now, and not with the next answers.
        assert_eq!(browser.get("/me").await.status, 200);
        check(&make(&mut browser, "two", &[]).await, 401, "insufficient_user_authentication");
        check(&browser.put(&format!("/api-keys/{id}/scopes"), json!({ "scopes": [] })).await, 401, "insufficient_user_authentication");
        check(&browser.post(&format!("/api-keys/{id}/rotate"), json!({})).await, 401, "insufficient_user_authentication");
        // Taking rights away needs none.
        assert_eq!(browser.delete(&format!("/api-keys/{id}")).await.status, 204);
        let again = browser.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await;
        assert_eq!(again.status, 200, "{}", again.text);
        made(&mut browser, "two", &[]).await;

        let (_, mut bob, secret) = person(&probe, "bob").await;
        bob.address = browser.address;
        made(&mut bob, "one", &[]).await;
        probe.clock.advance(HOUR);
        let again = bob.post("/auth/reauthenticate", json!({ "password": PASSWORD })).await;
        assert_eq!(again.status, 200, "{}", again.text);
        let refused = make(&mut bob, "two", &[]).await;
        check(&refused, 401, "insufficient_user_authentication");
        assert_eq!(refused.json()["factors"], json!(["totp"]), "{}", refused.text);
        let proved = step_up(&mut bob, &code(&probe, &secret)).await;
        assert_eq!(proved.status, 200, "{}", proved.text);
        made(&mut bob, "two", &[]).await;
    }

    async fn a_limited_session_gives_a_key_no_more_than_it_has(probe: Probe) {
        let probe = with_keys(probe);
        let account = probe.register("alice").await;
        grant(&probe, &account, &["report:read", "report:write"]).await;
        let browser = Browser::new(serve(application(&probe.auth)).await);
        let limited = async |ceiling: &[&str]| {
            let ceiling = ceiling.iter().map(|text| Permission::parse(text).expect("a permission"));
            let start = probe.auth.sessions().start(&account, &ClientInfo::default());
            let start = start.factor(Factor::Password).ceiling(ceiling.collect::<Vec<_>>());
            let cookie = cookie_of(&start.await.expect("a session"));
            browser.with_cookie(cookie.split_once('=').expect("a pair").1)
        };
        let mut reader = limited(&["report:read"]).await;
        check(&make(&mut reader, "one", &["report:read"]).await, 403, "limited_session");
        check(&reader.get("/api-keys").await, 403, "limited_session");
        let mut manager = limited(&["report:read", "auth-account:api-keys"]).await;
        let wide = make(&mut manager, "one", &["report:write"]).await;
        assert_eq!(wide.field_codes("scopes"), ["not_held"]);
        made(&mut manager, "one", &["report:read"]).await;
        // The text of a key that may do more than the session is not for the session.
        let wide = key_of(&probe.auth, &account, "wide", &["report:read", "report:write"]).await;
        let wide = wide.key().id();
        check(&manager.post(&format!("/api-keys/{wide}/rotate"), json!({})).await, 403, "denied");
        let narrow = json!({ "scopes": ["report:read"] });
        assert_eq!(manager.put(&format!("/api-keys/{wide}/scopes"), narrow).await.status, 204);
        let rotated = manager.post(&format!("/api-keys/{wide}/rotate"), json!({})).await;
        assert_eq!(rotated.status, 201, "{}", rotated.text);
    }

    async fn a_name_belongs_to_one_key_until_that_has_ended(probe: Probe) {
        let probe = with_keys(probe);
        let (account, mut browser) = signed_in(&probe, "alice", &[]).await;
        let (_, mut bob) = signed_in(&probe, "bob", &[]).await;
        let (id, _) = made(&mut browser, "robot", &[]).await;
        check(&make(&mut browser, "robot", &[]).await, 409, "api_key_name_taken");
        check(&make(&mut browser, " robot", &[]).await, 409, "api_key_name_taken");
        made(&mut browser, "Robot", &[]).await;
        made(&mut bob, "robot", &[]).await;
        assert_eq!(browser.delete(&format!("/api-keys/{id}")).await.status, 204);
        let body = json!({ "name": "robot", "scopes": [], "lifetime": 60 });
        assert_eq!(browser.post("/api-keys", body).await.status, 201);
        check(&make(&mut browser, "robot", &[]).await, 409, "api_key_name_taken");
        probe.clock.advance(MINUTE);
        made(&mut browser, "robot", &[]).await;
        let named = "SELECT COUNT(*) FROM auth_api_key WHERE name = 'robot' AND ended_at IS NULL";
        assert_eq!(probe.number(named).await, 3, "one of Bob, one that is over, one that counts");
        assert_eq!(probe.auth.api_keys().list(account.id()).await.expect("a list").len(), 2);
    }

    async fn of_many_at_once_one_gets_the_name_and_no_more_than_the_limit_are_made(probe: Probe) {
        let probe = with_keys(probe).configured(|config| {
            config.api_key.prefix = Some("acme".to_owned());
            config.api_key.max_per_account = 5;
        });
        let (account, browser) = signed_in(&probe, "alice", &[]).await;
        let answers = parallel(16, |_| {
            let mut browser = browser.clone();
            async move { make(&mut browser, "robot", &[]).await }
        }).await;
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
        assert!(answers.iter().all(|answer| answer.status == 201 || answer.code() == "api_key_name_taken"));
        let answers = parallel(16, |number| {
            let mut browser = browser.clone();
            async move { make(&mut browser, &format!("robot {number}"), &[]).await }
        }).await;
        let made = answers.iter().filter(|answer| answer.status == 201).count();
        assert_eq!(made, 4);
        assert!(answers.iter().all(|answer| answer.status == 201 || answer.code() == "too_many_api_keys"));
        let keys = probe.auth.api_keys();
        let list = keys.list(account.id()).await.expect("a list");
        assert_eq!(list.len(), 5);
        // A key that was replaced takes no place. One that ended frees one.
        drop(keys.rotate(account.id(), list[0].id(), HOUR).await.expect("it is replaced"));
        assert_eq!(name(keys.issue(account.id(), NewApiKey::new("more")).await), "TooMany");
        keys.revoke(account.id(), list[1].id()).await.expect("it is revoked");
        drop(keys.issue(account.id(), NewApiKey::new("more")).await.expect("there is room"));
    }

    async fn a_rotation_ends_the_old_key_at_once_or_after_the_overlap(probe: Probe) {
        let probe = with_keys(probe);
        let (_, mut browser) = signed_in(&probe, "alice", &["report:read"]).await;
        let (id, first) = made(&mut browser, "robot", &["report:read"]).await;
        probe.clock.advance(30 * DAY);
        let again = browser.login("alice", PASSWORD).await;
        assert_eq!(again.status, 200, "{}", again.text);
        let answer = browser.post(&format!("/api-keys/{id}/rotate"), json!({ "overlap": 3600 })).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let now = probe.auth_now();
        let (next_id, second) = text_of(&answer.json());
        let shown = answer.json();
        assert_eq!((&shown["name"], &shown["scopes"]), (&json!("robot"), &json!(["report:read"])));
        assert_eq!((&shown["first_id"], &shown["expires_at"]), (&json!(id), &json!(now.plus(90 * DAY))));
        assert_eq!((ask(&browser, &first).await, ask(&browser, &second).await), (200, 200));
        let list = listed(&mut browser).await;
        let old = list.iter().find(|key| key["id"] == json!(id)).expect("it is listed");
        assert_eq!((&old["rotated_at"], &old["expires_at"]), (&json!(now), &json!(now.plus(HOUR))));
        // It was replaced, so it is neither rotated nor widened again. It can be revoked.
        check(&browser.post(&format!("/api-keys/{id}/rotate"), json!({})).await, 404, "api_key_not_found");
        check(&browser.put(&format!("/api-keys/{id}/scopes"), json!({ "scopes": [] })).await, 404, "api_key_not_found");
        probe.clock.advance(HOUR - Duration::from_millis(1));
        assert_eq!((ask(&browser, &first).await, ask(&browser, &second).await), (200, 200));
        probe.clock.advance(Duration::from_millis(1));
        assert_eq!((ask(&browser, &first).await, ask(&browser, &second).await), (401, 200));
        browser.login("alice", PASSWORD).await;
        let answer = browser.post(&format!("/api-keys/{next_id}/rotate"), json!({})).await;
        let (third_id, third) = text_of(&answer.json());
        assert_eq!((ask(&browser, &second).await, ask(&browser, &third).await), (401, 200));
        // An overlap does not make the old key longer, and can be cut short.
        let answer = browser.post(&format!("/api-keys/{third_id}/rotate"), json!({ "overlap": 86_400 })).await;
        let (_, fourth) = text_of(&answer.json());
        assert_eq!(browser.delete(&format!("/api-keys/{third_id}")).await.status, 204);
        assert_eq!((ask(&browser, &third).await, ask(&browser, &fourth).await), (401, 200));
        assert_eq!(events(&probe, "api_key_rotated").await, ["a key"; 3]);
    }

    async fn what_happens_to_a_key_happens_to_the_one_that_it_replaced(probe: Probe) {
        let probe = with_keys(probe);
        let account = NewAccount::username("alice").with_email("alice@example.com");
        let account = probe.auth.registration().create(account, PASSWORD).await.expect("it is made");
        grant(&probe, &account, &["report:read", "report:write"]).await;
        let browser = Browser::new(serve(application(&probe.auth)).await);
        let keys = probe.auth.api_keys();
        let old = key_of(&probe.auth, &account, "robot", &["report:read"]).await;
        let new = keys.rotate(account.id(), old.key().id(), HOUR).await.expect("it is replaced");
        let set = async |scopes: &[&str]| {
            let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
            keys.set_scopes(account.id(), new.key().id(), &scopes).await.expect("they are changed");
        };
        let scopes_of = async |id: ApiKeyId| {
            let list = keys.list(account.id()).await.expect("a list");
            let key = list.iter().find(|key| key.id() == id).expect("it is good").clone();
            key.scopes().map(str::to_owned).collect::<Vec<_>>()
        };
        // It gets no right, and keeps no other one.
        set(&["report:read", "report:write"]).await;
        assert_eq!(scopes_of(old.key().id()).await, ["report:read"]);
        assert_eq!(ask(&browser, old.secret()).await, 200);
        let told = probe.mail().await.into_iter().filter(|mail| mail.kind == MessageKind::ApiKeyChanged);
        assert_eq!(told.count(), 1);
        set(&["report:write"]).await;
        assert!(scopes_of(old.key().id()).await.is_empty());
        assert_eq!((ask(&browser, old.secret()).await, ask(&browser, new.secret()).await), (403, 403));
        let told = probe.mail().await.into_iter().filter(|mail| mail.kind == MessageKind::ApiKeyChanged);
        assert_eq!(told.count(), 1, "it may do less");
        set(&["report:read"]).await;
        assert_eq!((ask(&browser, old.secret()).await, ask(&browser, new.secret()).await), (403, 200));
        // One old secret at most.
        let newer = keys.rotate(account.id(), new.key().id(), HOUR).await.expect("it is replaced");
        assert_eq!(ask(&browser, old.secret()).await, 401);
        assert_eq!((ask(&browser, new.secret()).await, ask(&browser, newer.secret()).await), (200, 200));
        keys.revoke(account.id(), newer.key().id()).await.expect("it is revoked");
        assert_eq!((ask(&browser, new.secret()).await, ask(&browser, newer.secret()).await), (401, 401));
    }

    async fn an_overlap_never_makes_a_key_valid_for_longer(probe: Probe) {
        let probe = with_keys(probe);
        let account = probe.register("alice").await;
        let keys = probe.auth.api_keys();
        let new = NewApiKey::new("short").lifetime(2 * HOUR);
        let issued = keys.issue(account.id(), new).await.expect("it is made");
        probe.clock.advance(HOUR);
        let next = keys.rotate(account.id(), issued.key().id(), DAY).await.expect("it is replaced");
        assert_eq!(next.key().expires_at(), probe.auth_now().plus(2 * HOUR));
        let list = keys.list(account.id()).await.expect("a list");
        let old = list.iter().find(|key| key.id() == issued.key().id()).expect("it is good");
        assert_eq!(old.expires_at(), probe.auth_now().plus(HOUR));
    }

    async fn of_sixteen_rotations_one_makes_a_key(probe: Probe) {
        let probe = with_keys(probe);
        let account = probe.register("alice").await;
        let issued = key_of(&probe.auth, &account, "robot", &[]).await;
        for overlap in [HOUR, Duration::ZERO] {
            let list = probe.auth.api_keys().list(account.id()).await.expect("a list");
            let id = list.iter().find(|key| key.rotated_at().is_none()).expect("one is current").id();
            let results = parallel(16, |_| {
                let (auth, account) = (probe.auth.clone(), account.id());
                async move { auth.api_keys().rotate(account, id, overlap).await.map(|next| next.key().id()) }
            }).await;
            assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
            assert!(results.iter().all(|result| matches!(result, Ok(_) | Err(ApiKeyError::NotFound))), "{results:?}");
        }
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_api_key").await, 3);
        let first = issued.key().id();
        let list = probe.auth.api_keys().list(account.id()).await.expect("a list");
        assert!(list.iter().all(|key| key.first_id() == first), "{list:?}");
    }

    async fn the_keys_of_another_account_are_not_found(probe: Probe) {
        let probe = with_keys(probe);
        let (alice, mut browser) = signed_in(&probe, "alice", &["report:read"]).await;
        let (bob, mut other) = signed_in(&probe, "bob", &["report:read"]).await;
        let (id, key) = made(&mut browser, "robot", &["report:read"]).await;
        assert!(listed(&mut other).await.is_empty());
        let paths = [id.as_str(), "00000000-0000-0000-0000-000000000000", "robot", "%00", &"x".repeat(300)];
        for id in paths {
            check(&other.delete(&format!("/api-keys/{id}")).await, 404, "api_key_not_found");
            check(&other.post_empty(&format!("/api-keys/{id}/revoke")).await, 404, "api_key_not_found");
            check(&other.post(&format!("/api-keys/{id}/rotate"), json!({})).await, 404, "api_key_not_found");
            let scopes = json!({ "scopes": [] });
            check(&other.put(&format!("/api-keys/{id}/scopes"), scopes).await, 404, "api_key_not_found");
        }
        let keys = probe.auth.api_keys();
        let parsed: ApiKeyId = id.parse().expect("an id");
        assert_eq!(name(keys.revoke(bob.id(), parsed).await), "NotFound");
        assert_eq!(name(keys.rotate(bob.id(), parsed, HOUR).await), "NotFound");
        assert_eq!(name(keys.set_scopes(bob.id(), parsed, &[]).await), "NotFound");
        assert_eq!(keys.revoke_all(bob.id()).await.expect("there is none"), 0);
        assert_eq!(ask(&browser, &key).await, 200);
        assert_eq!(keys.revoke_all(alice.id()).await.expect("it is revoked"), 1);
        assert_eq!(ask(&browser, &key).await, 401);
        assert_eq!(events(&probe, "api_key_revoked").await, ["all"]);
    }

    async fn the_application_makes_keys_within_the_rights_of_the_account(probe: Probe) {
        let probe = with_keys(probe);
        let account = probe.register("alice").await;
        grant(&probe, &account, &["report:read"]).await;
        let keys = probe.auth.api_keys();
        assert_eq!(name(keys.issue(account.id(), NewApiKey::new("a").scope("report:write")).await), "Invalid");
        let key = key_of(&probe.auth, &account, "a", &["report:read"]).await;
        let wide = ["report:write".to_owned()];
        assert_eq!(name(keys.set_scopes(account.id(), key.key().id(), &wide).await), "Invalid");
        assert_eq!(format!("{key:?}").matches("acme_").count(), 0, "{key:?}");
        // In a transaction of the application: a rollback leaves nothing.
        let txn = probe.auth.begin().await.expect("it begins");
        let made = keys.within(&txn).issue(account.id(), NewApiKey::new("b")).await.expect("it is made");
        txn.rollback().await;
        drop(made);
        let txn = probe.auth.begin().await.expect("it begins");
        drop(keys.within(&txn).issue(account.id(), NewApiKey::new("c")).await.expect("it is made"));
        keys.within(&txn).revoke(account.id(), key.key().id()).await.expect("it is revoked");
        txn.commit().await.expect("it is committed");
        let names: Vec<_> = keys.list(account.id()).await.expect("a list").iter().map(|key| key.name().to_owned()).collect();
        assert_eq!(names, ["c"]);
        // The transaction sees what it has granted itself.
        let txn = probe.auth.begin().await.expect("it begins");
        let write = Permission::parse("report:write").expect("a permission");
        let grants = probe.auth.permissions().within(&txn);
        grants.grant(account.id(), &write).await.expect("it is granted");
        let new = NewApiKey::new("writer").scope("report:write");
        drop(keys.within(&txn).issue(account.id(), new).await.expect("it is made"));
        txn.commit().await.expect("it is committed");
        let current = keys.list(account.id()).await.expect("a list")[0].id();
        probe.auth.accounts().disable(account.id()).await.expect("it is disabled");
        let refused = keys.rotate(account.id(), current, HOUR).await;
        assert!(matches!(refused, Err(ApiKeyError::Account(JobError::Disabled))), "{refused:?}");
        let refused = keys.issue(account.id(), NewApiKey::new("d")).await;
        assert!(matches!(refused, Err(ApiKeyError::Account(JobError::Disabled))), "{refused:?}");
        let nobody = probe.register("bob").await;
        probe.auth.accounts().delete(nobody.id()).await.expect("it is deleted");
        let refused = keys.issue(nobody.id(), NewApiKey::new("d")).await;
        assert!(matches!(refused, Err(ApiKeyError::Account(JobError::NotFound))), "{refused:?}");
    }

    async fn no_key_is_made_by_a_session_that_ends_meanwhile(probe: Probe) {
        let probe = with_keys(probe);
        let mut made_before = 0;
        for round in 0.. {
            assert!(round < 50, "no key was made before the sessions ended");
            let name = format!("person-{round}");
            let (account, browser) = signed_in(&probe, &name, &["report:read"]).await;
            let results = parallel(8, |number| {
                let (auth, mut browser, account) = (probe.auth.clone(), browser.clone(), account.clone());
                async move {
                    if number == 3 {
                        // On a slow machine, the end would always come first.
                        tokio::time::sleep(Duration::from_millis(10 * round)).await;
                        auth.sessions().end_all(account.id(), None).await.expect("they end");
                        return None;
                    }
                    let answer = make(&mut browser, &format!("key {number}"), &["report:read"]).await;
                    (answer.status == 201).then(|| text_of(&answer.json()).1)
                }
            }).await;
            for key in results.into_iter().flatten() {
                assert_eq!(ask(&browser, &key).await, 401, "it ended with the sessions");
                made_before += 1;
            }
            if round >= 5 && made_before > 0 {
                break;
            }
        }
    }

    async fn owners_are_told_once_before_a_key_ends_and_old_keys_are_removed(probe: Probe) {
        let probe = with_keys(probe);
        let account = NewAccount::username("alice").with_email("alice@example.com");
        let account = probe.auth.registration().create(account, PASSWORD).await.expect("it is made");
        let keys = probe.auth.api_keys();
        let issued = keys.issue(account.id(), NewApiKey::new("robot")).await.expect("it is made");
        drop(keys.issue(account.id(), NewApiKey::new("short").lifetime(DAY)).await.expect("it is made"));
        let revoked = keys.issue(account.id(), NewApiKey::new("revoked")).await.expect("it is made");
        keys.revoke(account.id(), revoked.key().id()).await.expect("it is revoked");
        let told = async || {
            let mails = probe.mail().await;
            let mails = mails.into_iter().filter(|mail| mail.kind == MessageKind::ApiKeyExpires);
            mails.map(|mail| mail.text).collect::<Vec<_>>()
        };
        let run = async || probe.auth.maintenance().run().await.expect("it runs");
        run().await;
        assert!(told().await.is_empty(), "one is short-lived, and the other one has time");
        probe.clock.advance(83 * DAY - Duration::from_millis(1));
        run().await;
        assert!(told().await.is_empty());
        probe.clock.advance(Duration::from_millis(1));
        let other = probe.rebuilt(|builder| builder.configure(|config| {
            config.api_key.prefix = Some("acme".to_owned());
        }));
        let both = parallel(2, |number| {
            let auth = if number == 0 { probe.auth.clone() } else { other.clone() };
            async move { auth.maintenance().run().await.expect("it runs").api_key_notices }
        }).await;
        assert_eq!(both.iter().sum::<u64>(), 1, "{both:?}");
        assert_eq!(run().await.api_key_notices, 0);
        let mails = told().await;
        assert!(mails.len() == 1 && mails[0].contains("\"robot\"") && mails[0].contains("7 days"), "{mails:?}");
        // The revoked and the short one are gone after 30 days. The last one goes 30 days after its end.
        let rows = "SELECT COUNT(*) FROM auth_api_key";
        assert_eq!(probe.number(rows).await, 1);
        probe.clock.advance(7 * DAY + 30 * DAY);
        run().await;
        assert_eq!(probe.number(rows).await, 1);
        probe.clock.advance(Duration::from_millis(1));
        assert_eq!(run().await.api_keys, 1);
        assert_eq!(probe.number(rows).await, 0);
        assert!(!keys.list(account.id()).await.expect("a list").iter().any(|key| key.id() == issued.key().id()));
    }

    async fn a_restored_backup_revives_no_key(probe: Probe) {
        let probe = with_keys(probe);
        let account = probe.register("alice").await;
        grant(&probe, &account, &["report:read"]).await;
        let issued = key_of(&probe.auth, &account, "robot", &["report:read"]).await;
        let browser = Browser::new(serve(application(&probe.auth)).await);
        assert_eq!(ask(&browser, issued.secret()).await, 200);
        probe.auth.maintenance().after_restore().await.expect("it is ended");
        assert_eq!(ask(&browser, issued.secret()).await, 401);
    }

    async fn a_recovery_and_an_undone_change_end_the_keys(probe: Probe) {
        let probe = with_keys(probe);
        let account = probe.register_with_email("alice", "alice@example.com").await;
        probe.auth.accounts().verify(account.id()).await.expect("it is verified");
        let mut browser = Browser::new(serve(application(&probe.auth)).await);
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        // A thief of the session changes the address and makes a key. The owner undoes the change.
        let body = json!({ "email": "thief@example.com" });
        let asked = browser.post("/auth/email", body).await;
        assert_eq!(asked.status, 202, "{}", asked.text);
        let mail = last(&probe, MessageKind::EmailChangeConfirm).await;
        let confirmed = browser.post("/auth/email/confirm", json!({ "token": token(&mail) })).await;
        assert_eq!(confirmed.status, 200, "{}", confirmed.text);
        let (_, key) = made(&mut browser, "robot", &[]).await;
        let undo = token(&last(&probe, MessageKind::EmailChangedUndo).await);
        let undone = browser.stranger().post("/auth/email/undo", json!({ "token": undo })).await;
        assert_eq!(undone.status, 204, "{}", undone.text);
        assert_eq!(ask(&browser, &key).await, 401);
        assert_eq!(events(&probe, "api_key_revoked").await, ["change undone"]);
    }

    async fn each_undone_change_ends_the_keys(probe: Probe) {
        let probe = with_keys(probe);
        let server = serve(application(&probe.auth)).await;
        let (_, mut browser, secret) = person(&probe, "alice").await;
        browser.address = server;
        let added = token(&last(&probe, MessageKind::FactorAdded).await);
        let proved = step_up(&mut browser, &code(&probe, &secret)).await;
        assert_eq!(proved.status, 200, "{}", proved.text);
        let asked = browser.post("/auth/login-names", json!({ "email": "more@example.com" })).await;
        assert_eq!(asked.status, 202, "{}", asked.text);
        let confirm = token(&last(&probe, MessageKind::LoginNameConfirm).await);
        let named = browser.post("/auth/login-names/confirm", json!({ "token": confirm })).await;
        assert_eq!(named.status, 200, "{}", named.text);
        let named = token(&last(&probe, MessageKind::LoginNameAdded).await);
        for (path, undo) in [("/auth/login-names/undo", named), ("/auth/second-factor/undo", added)] {
            let (_, key) = made(&mut browser, "robot", &[]).await;
            assert_eq!(ask_account(&browser, &key).await, 200);
            let undone = browser.stranger().post(path, json!({ "token": undo })).await;
            assert_eq!(undone.status, 204, "{path}: {}", undone.text);
            assert_eq!(ask_account(&browser, &key).await, 401, "{path}");
            // The undone change has ended the session too.
            browser = browser.stranger();
            let signed_in = browser.login("alice", PASSWORD).await;
            assert_eq!(signed_in.status, 200, "{}", signed_in.text);
            if path.contains("login-names") {
                probe.clock.advance(MINUTE);
                let answer = browser.post("/auth/second-factor/verify", json!({ "code": code(&probe, &secret) })).await;
                assert_eq!(answer.status, 200, "{}", answer.text);
            }
        }
        assert_eq!(events(&probe, "api_key_revoked").await, ["change undone", "change undone"]);
    }

    async fn a_recovery_by_an_administrator_ends_the_keys(probe: Probe) {
        let probe = with_keys(probe);
        let account = probe.register_with_email("alice", "alice@example.com").await;
        probe.auth.accounts().verify(account.id()).await.expect("it is verified");
        let mut browser = Browser::new(serve(application(&probe.auth)).await);
        assert_eq!(browser.login("alice", PASSWORD).await.status, 200);
        let (_, key) = made(&mut browser, "robot", &[]).await;
        let (recovery, program) = (probe.auth.account_recovery(), RecoveryActor::Program("cli"));
        let opened = recovery.open(account.id(), NewRecovery::new("called back"), program).await;
        opened.expect("it is opened");
        probe.clock.advance(4 * DAY);
        assert_eq!(ask_account(&browser, &key).await, 200);
        recovery.complete(account.id(), program).await.expect("the link is sent");
        let link = token(&last(&probe, MessageKind::RecoveryLink).await);
        let body = json!({ "token": link, "password": "another horse battery staple" });
        let finished = browser.stranger().post("/lost/account/recovery/finish", body).await;
        assert!(finished.status < 300, "{}", finished.text);
        assert_eq!(ask_account(&browser, &key).await, 401);
        assert_eq!(events(&probe, "api_key_revoked").await, ["account recovered"]);
    }

    async fn the_first_proof_of_an_address_by_mail_ends_the_keys(probe: Probe) {
        let probe = with_keys(probe);
        // A thief registers the address of the victim, and makes a key. The victim signs in by mail.
        probe.register_with_email("thief", "victim@example.com").await;
        let mut thief = Browser::new(serve(application(&probe.auth)).await);
        assert_eq!(thief.login("thief", PASSWORD).await.status, 200);
        let (_, key) = made(&mut thief, "robot", &[]).await;
        let mut victim = thief.stranger();
        let asked = victim.post("/auth/login/mail", json!({ "login": "victim@example.com" })).await;
        assert_eq!(asked.status, 202, "{}", asked.text);
        let link = token(&last(&probe, MessageKind::MailLogin).await);
        assert_eq!(ask_account(&thief, &key).await, 200);
        let signed_in = victim.post("/auth/login/mail/confirm", json!({ "token": link })).await;
        assert_eq!(signed_in.status, 200, "{}", signed_in.text);
        assert_eq!(ask_account(&thief, &key).await, 401);
        assert_eq!(events(&probe, "api_key_revoked").await, ["handed over"]);
    }

    async fn a_suspected_theft_ends_the_keys_that_were_made_in_that_sign_in(probe: Probe) {
        let probe = with_keys(probe);
        let (account, mut browser) = signed_in(&probe, "alice", &["report:read"]).await;
        let elsewhere = key_of(&probe.auth, &account, "elsewhere", &["report:read"]).await;
        let (_, key) = made(&mut browser, "robot", &["report:read"]).await;
        let old = browser.cookie.clone().expect("a cookie");
        probe.clock.advance(16 * MINUTE);
        assert_eq!(browser.get("/me").await.status, 200);
        assert_ne!(browser.cookie.as_ref(), Some(&old), "it was replaced");
        probe.clock.advance(5 * MINUTE);
        assert_eq!(browser.get("/me").await.status, 200);
        probe.clock.advance(MINUTE);
        assert_eq!(ask(&browser, &key).await, 200);
        check(&browser.with_cookie(&old).get("/me").await, 401, "session_ended");
        assert_eq!(ask(&browser, &key).await, 401);
        assert_eq!(ask(&browser, elsewhere.secret()).await, 200, "it is not of that sign-in");
        assert_eq!(events(&probe, "api_key_revoked").await, ["theft"]);
    }

    async fn neither_a_recovery_code_nor_a_device_gives_a_key(probe: Probe) {
        let probe = probe.configured(|config| {
            crate::device_login::clients(config);
            config.api_key.prefix = Some("acme".to_owned());
        });
        let server = serve(application(&probe.auth)).await;
        let (_, mut browser, secret) = person(&probe, "alice").await;
        browser.address = server;
        let proved = step_up(&mut browser, &code(&probe, &secret)).await;
        assert_eq!(proved.status, 200, "{}", proved.text);
        let codes = browser.post("/auth/recovery-codes", json!({})).await.json();
        let recovery = codes["codes"][0].as_str().expect("a code").to_owned();
        let mut other = browser.stranger();
        let waits = other.login("alice", PASSWORD).await;
        assert_eq!(waits.json()["result"], "second_factor_required", "{}", waits.text);
        let body = json!({ "method": "recovery_code", "code": recovery });
        let signed_in = other.post("/auth/second-factor/verify", body).await;
        assert_eq!(signed_in.status, 200, "{}", signed_in.text);
        check(&make(&mut other, "robot", &[]).await, 401, "insufficient_user_authentication");
        // One of them may do everything in the application.
        let bob = probe.register("bob").await;
        for (client, status, code) in [
            ("cli", 403, "limited_session"),
            ("tv", 403, "limited_session"),
        ] {
            let token = crate::device_login::token_for(&probe.auth, &bob, client).await;
            let request = browser.raw(Method::POST, "/api-keys").bearer_auth(token);
            let request = request.json(&json!({ "name": "robot", "scopes": [] }));
            check(&send(request).await, status, code);
        }
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_api_key").await, 0);
    }
}

/// A request that needs no scope.
async fn ask_account(browser: &Browser, key: &str) -> u16 {
    let request = browser.raw(Method::GET, "/account-of-key");
    send(request.header("authorization", format!("Bearer {key}"))).await.status
}

async fn last(probe: &Probe, kind: MessageKind) -> String {
    let mails = probe.mail().await;
    let mail = mails.into_iter().rfind(|mail| mail.kind == kind);
    mail.unwrap_or_else(|| panic!("no {kind:?}")).text
}

fn token(text: &str) -> String {
    let (_, token) = text.split_once("#token=").expect("a link");
    token.chars().take_while(|c| !c.is_whitespace()).collect()
}
