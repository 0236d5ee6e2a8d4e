//! Passkeys in a real Chromium, with virtual authenticators.

use portcullis_test_needs::needs;

use super::*;
use crate::support::chromium::Chromium;
use crate::support::probe::app;
use crate::support::{Backend, needed};

/// What a page does to sign in.
const SIGN_IN: &str = "
    const post = (path, body) => fetch(path, { method: 'POST', body: JSON.stringify(body),
        headers: { 'content-type': 'application/json' } });
    const asked = await (await post('/auth/login/passkey/challenge', {})).json();
    const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(asked.options);
    const credential = await navigator.credentials.get({ publicKey });
    const answer = await post('/auth/login/passkey', { credential: credential.toJSON() });
    return [answer.status, await answer.json()];";

/// What a page does to add a passkey.
const ADD: &str = "
    const post = (path, body) => fetch(path, { method: 'POST', body: JSON.stringify(body),
        headers: { 'content-type': 'application/json' } });
    const asked = await (await post('/auth/passkeys/challenge')).json();
    const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(asked.options);
    if (algorithm) publicKey.pubKeyCredParams = [{ type: 'public-key', alg: algorithm }];
    const credential = await navigator.credentials.create({ publicKey });
    const answer = await post('/auth/passkeys', { name: 'my phone', credential: credential.toJSON() });
    return [answer.status, await answer.json()];";

#[needs("PORTCULLIS_TEST_CHROMEDRIVER")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_adds_a_passkey_signs_in_with_it_and_steps_up() {
    crate::support::probe::run(Backend::Sqlite, async |probe| {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        // An address has no passkeys.
        let site = format!("http://localhost:{port}");
        let public = site.clone();
        let probe = probe.configured(|config| config.service.public_url = Some(public));
        let service = app(&probe.auth).into_make_service_with_connect_info::<std::net::SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        let account = probe.register_with_email("alice", "alice@example.com").await;
        probe.auth.accounts().verify(account.id()).await.expect("it is verified");

        let profile = tempfile::tempdir().expect("a directory");
        let browser = Chromium::start(&needed("PORTCULLIS_TEST_CHROMEDRIVER"), profile.path()).await;
        browser.open(&format!("{site}/public")).await;
        let login = format!(
            "const answer = await fetch('/auth/login', {{ method: 'POST', \
             headers: {{ 'content-type': 'application/json' }}, \
             body: JSON.stringify({{ login: 'alice', password: '{PASSWORD}' }}) }}); \
             return (await answer.json()).result;"
        );
        assert_eq!(browser.run(&login).await, "session");
        let post = "const post = async (path, body) => { const answer = await fetch(path, { method: 'POST', \
             headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }); \
             return [answer.status, await answer.json()]; };";
        let ask = format!("{post} return await post('/auth/reauthenticate/challenge', {{ method: 'mailed_code' }});");
        assert_eq!(browser.run(&ask).await[0], 202);
        let code = crate::sent_code::newest(&probe).await;
        let prove = format!("{post} return await post('/auth/reauthenticate', {{ method: 'mailed_code', code: '{code}' }});");
        assert_eq!(browser.run(&prove).await[0], 200);

        let mut earlier = Vec::new();
        for (algorithm, verifies) in [(-7, true), (-257, true), (-8, true), (-7, false)] {
            let authenticator = browser.add_authenticator(verifies).await;
            let script = format!("const algorithm = {algorithm}; {ADD}");
            let answer = browser.run(&script).await;
            if !verifies {
                // The browser itself refuses an authenticator that cannot verify its user.
                assert!(answer.as_str().is_some_and(|text| text.contains("NotAllowed")), "{answer}");
                browser.remove_authenticator(&authenticator).await;
                continue;
            }
            assert_eq!(answer[0], 201, "{algorithm}: {answer}");
            assert_eq!(answer[1]["result"], "session");
            // Signed in by the new session already, and again without a name.
            for _ in 0..2 {
                let answer = browser.run(SIGN_IN).await;
                assert_eq!((&answer[0], &answer[1]["result"]), (&json!(200), &json!("session")), "{answer}");
                assert_eq!(answer[1]["account_id"], account.id().to_string());
                let ids = &answer[1]["signals"]["allAcceptedCredentials"]["allAcceptedCredentialIds"];
                assert_eq!(ids.as_array().map(Vec::len), Some(earlier.len() + 1), "{answer}");
            }
            // The signals are what the browser takes.
            let signal = format!(
                "{post} const [, listed] = [0, await (await fetch('/auth/passkeys')).json()]; \
                 await PublicKeyCredential.signalAllAcceptedCredentials(listed.signals.allAcceptedCredentials); \
                 await PublicKeyCredential.signalCurrentUserDetails(listed.signals.currentUserDetails); \
                 return listed.passkeys.length;"
            );
            assert_eq!(browser.run(&signal).await, json!(earlier.len() + 1));
            // A step-up, and the second step after a password.
            let step_up = format!(
                "{post} const [, asked] = await post('/auth/reauthenticate/challenge', {{ method: 'passkey' }}); \
                 const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(asked.options); \
                 const credential = await navigator.credentials.get({{ publicKey }}); \
                 return (await post('/auth/reauthenticate', {{ credential: credential.toJSON() }}))[0];"
            );
            assert_eq!(browser.run(&step_up).await, 200);
            let second_step = format!(
                "{post} const [, login] = await post('/auth/login', {{ login: 'alice', password: '{PASSWORD}' }}); \
                 const [, asked] = await post('/auth/second-factor/challenge', {{ method: 'passkey' }}); \
                 const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(asked.options); \
                 const credential = await navigator.credentials.get({{ publicKey }}); \
                 const body = {{ credential: credential.toJSON() }}; \
                 return [login.result, (await post('/auth/second-factor/verify', body))[1].result];"
            );
            assert_eq!(browser.run(&second_step).await, json!(["second_factor_required", "session"]));
            browser.remove_authenticator(&authenticator).await;
            earlier.push(authenticator);
        }
        let stored: i64 = passkeys(&probe).await;
        assert_eq!(stored, 3);
        let counts = probe.number("SELECT MIN(sign_count) FROM auth_passkey").await;
        assert!(counts >= 4, "Chromium counts: {counts}");
        browser.quit().await;
    })
    .await;
}
