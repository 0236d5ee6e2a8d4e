//! Passkeys in a real Chromium, with virtual authenticators.

use portcullis_test_needs::needs;

use super::*;
use crate::support::chromium::Chromium;
use crate::support::probe::app;
use crate::support::{Backend, needed};

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
        let script = ([("content-type", "text/javascript")], portcullis::passkey::SCRIPT);
        let script = axum::routing::get(move || async move { script });
        let site_app = app(&probe.auth).route("/passkeys.js", script);
        let service = site_app.into_make_service_with_connect_info::<std::net::SocketAddr>();
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

        // The script that the library has for pages.
        let with = |body: &str| {
            format!("const passkey = (await import('/passkeys.js')).passkeys(); {body}")
        };
        let mut earlier = 0;
        for (algorithm, verifies) in [(-7, true), (-257, true), (-8, true), (-7, false)] {
            let authenticator = browser.add_authenticator(verifies).await;
            // Leaves only this algorithm in the options.
            let only = format!(
                "const create = navigator.credentials.create.bind(navigator.credentials); \
                 navigator.credentials.create = (options) => {{ \
                 options.publicKey.pubKeyCredParams = [{{ type: 'public-key', alg: {algorithm} }}]; \
                 return create(options); }};"
            );
            let script = with(&format!("{only} return await passkey.add('my phone');"));
            let answer = browser.run(&script).await;
            if !verifies {
                // The browser itself refuses an authenticator that cannot verify its user.
                assert!(answer.as_str().is_some_and(|text| text.contains("NotAllowed")), "{answer}");
                browser.remove_authenticator(&authenticator).await;
                continue;
            }
            assert_eq!(answer["result"], "session", "{algorithm}: {answer}");
            earlier += 1;
            for _ in 0..2 {
                let answer = browser.run(&with("return await passkey.signIn();")).await;
                assert_eq!(answer["result"], "session", "{answer}");
                assert_eq!(answer["account_id"], account.id().to_string());
                let ids = &answer["signals"]["allAcceptedCredentials"]["allAcceptedCredentialIds"];
                assert_eq!(ids.as_array().map(Vec::len), Some(earlier), "{answer}");
            }
            let answer = browser.run(&with("return await passkey.stepUp();")).await;
            assert_eq!(answer["result"], "session", "{answer}");
            let second_step = format!(
                "{post} const [, login] = await post('/auth/login', {{ login: 'alice', password: '{PASSWORD}' }}); \
                 return [login.result, (await passkey.secondStep()).result];"
            );
            let answer = browser.run(&with(&second_step)).await;
            assert_eq!(answer, json!(["second_factor_required", "session"]));
            browser.remove_authenticator(&authenticator).await;
        }
        let stored: i64 = passkeys(&probe).await;
        assert_eq!(stored, 3);
        let counts = probe.number("SELECT MIN(sign_count) FROM auth_passkey").await;
        assert!(counts >= 4, "Chromium counts: {counts}");
        browser.quit().await;
    })
    .await;
}
