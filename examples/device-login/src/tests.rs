//! The program and the page together, and who may call what.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::Method;
use portcullis::Factor;
use portcullis::account::NewAccount;
use portcullis::base::clock::MockClock;

use super::*;

async fn started(url: &str) -> (Portcullis, MockClock, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let db = connect(&directory).await.expect("a database");
    let clock = MockClock::default();
    let auth = with_devices(Portcullis::builder(db))
        .secret(Secret::generate())
        .public_url(url)
        .clock(clock.clone())
        .build()
        .expect("the configuration is right");
    (auth, clock, directory)
}

/// The part of a page between two texts.
fn between<'a>(page: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = page.split_once(start).unwrap_or_else(|| panic!("no {start} in {page}"));
    rest.split_once(end).expect("its end").0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_signs_in_the_program() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (auth, clock, _directory) = started(&url).await;
    let app = app(&auth);
    let served = app.clone();
    tokio::spawn(async move { axum::serve(listener, served).await });
    let alice = auth.accounts().create(NewAccount::username("alice")).await.expect("an account");
    let factors = [(Factor::Password, Duration::ZERO)];
    let person = auth.test().login_as(&alice).with_factors(factors).into_client();

    let table = [
        ("deny", Err("access_denied")),
        ("report", Err("access_denied")),
        ("approve", Ok("alice")),
    ];
    for (decision, result) in table {
        let program = program::start(&url).await.expect("it starts");
        let code = program.user_code().to_owned();
        let phrase = program.phrase().to_owned();
        let decide = async || {
            let page = person.get(&format!("/device?user_code={code}")).send(&app).await.text();
            let place =
                |text: &str| page.find(text).unwrap_or_else(|| panic!("no {text} in {page}"));
            let deny = place("value=\"deny\" autofocus>Deny</button>");
            assert!(deny < place(">Approve</button>"), "{page}");
            assert_eq!(page.matches("autofocus").count(), 1);
            assert!(!page.contains("<script"), "{page}");
            place("If you did not start this yourself just now, deny it.");
            place("&ldquo;a terminal&rdquo;");
            place(&format!("<b>{code}</b> and <b>{phrase}</b>"));
            place("The program for notes wants to be signed in to your account");
            // This server does not pass on the addresses of clients.
            place("from an unknown address. It is not known where the device is.");
            place("It asked at 20");
            place("It calls its program &ldquo;notes-cli&rdquo;.");
            // Opening the page has decided nothing.
            let again = person.get(&format!("/device?user_code={code}")).send(&app).await.text();
            assert!(again.contains(">Approve</button>"), "{again}");
            let view = between(&page, "name=\"view\" type=\"hidden\" value=\"", "\"");
            let form = format!("user_code={code}&view={view}&decision={decision}");
            let request = person.request(Method::POST, "/device");
            let request = request.body("application/x-www-form-urlencoded", form);
            let answer = request.send(&app).await;
            assert_eq!(answer.status(), 200, "{}", answer.text());
        };
        // It asks once before the person decides.
        let polls = AtomicUsize::new(0);
        let wait = async |interval| {
            clock.advance(interval);
            if polls.fetch_add(1, Ordering::Relaxed) == 1 {
                decide().await;
            }
        };
        let name = program.finish(wait).await.map_err(|error| error.to_string());
        assert_eq!(name.as_deref().map_err(String::as_str), result, "{decision}");
        assert_eq!(polls.into_inner(), 2);
        let again = person.get(&format!("/device?user_code={code}")).send(&app).await.text();
        assert!(again.contains("This request is"), "{again}");
    }
    let unknown = person.get("/device?user_code=%3Cb%3E").send(&app).await.text();
    assert!(unknown.contains("there is no request with this code"), "{unknown}");
}

#[tokio::test]
async fn who_may_call_what_is_written_down() {
    let (auth, _clock, _directory) = started("http://localhost:3008").await;
    auth.test().matrix(&app(&auth)).await.check("access.txt");
}
