//! Tests of what the example shows, over real connections.

use super::*;

/// A browser that follows redirects and keeps cookies, also secure ones on this machine.
struct Browser {
    http: reqwest::Client,
    cookies: std::collections::BTreeMap<String, String>,
    base: String,
}

impl Browser {
    fn new(base: &str) -> Self {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        let http = http.build().expect("a client");
        Self { http, cookies: std::collections::BTreeMap::new(), base: base.to_owned() }
    }

    /// Goes to an address, and where it leads. Returns the page and its address.
    async fn go(&mut self, address: &str, form: Option<&[(&str, &str)]>) -> (String, String) {
        let (mut address, mut form) = (address.to_owned(), form);
        for _ in 0..10 {
            if address.starts_with('/') {
                address = format!("{}{address}", self.base);
            }
            let ours = address.starts_with(&self.base);
            let mut request = match form.take() {
                Some(fields) => self.http.post(&address).form(fields).header("origin", &self.base),
                None => self.http.get(&address),
            };
            if ours {
                let cookies = self.cookies.iter().map(|(name, value)| format!("{name}={value}"));
                request = request.header("cookie", cookies.collect::<Vec<_>>().join("; "));
                request = request.header("sec-fetch-site", "same-origin");
            }
            let request =
                request.header("sec-fetch-mode", "navigate").header("accept", "text/html");
            let answer = request.send().await.expect("it answers");
            for cookie in answer.headers().get_all("set-cookie").iter().filter(|_| ours) {
                let cookie = cookie.to_str().expect("ASCII").split(';').next().expect("a pair");
                let (name, value) = cookie.split_once('=').expect("a pair");
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
            let Some(location) = answer.headers().get("location") else {
                let status = answer.status();
                let page = answer.text().await.expect("a page");
                assert!(status.is_success(), "{address}: {status} {page}");
                return (page, address);
            };
            address = location.to_str().expect("ASCII").to_owned();
        }
        panic!("it leads nowhere: {address}");
    }
}

fn hidden<'p>(page: &'p str, name: &str) -> &'p str {
    let start = format!("name={name} value=\"");
    page.split(&start).nth(1).and_then(|rest| rest.split('"').next()).expect("a field")
}

/// Types a name at the provider.
async fn agree(browser: &mut Browser, address: &str, name: &str) -> (String, String) {
    let (page, at) = browser.go(address, None).await;
    let fields = ["state", "nonce", "code_challenge"].map(|field| (field, hidden(&page, field)));
    let form = [&[("name", name)][..], &fields].concat();
    browser.go(&at, Some(&form)).await
}

async fn served() -> (String, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a directory");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let local = provider::start(&format!("{url}/auth/oauth/local/callback")).await;
    let local = local.expect("it starts");
    let path = folder.path().join("test.sqlite").display().to_string();
    let auth = instance(&path, &url, &local).await.expect("an instance");
    let service = app(&auth).into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    (url, folder)
}

#[tokio::test]
async fn a_person_signs_in_with_the_provider_and_gets_an_account_when_asked() {
    let (url, _folder) = served().await;
    let mut alice = Browser::new(&url);
    let (page, _) = alice.go("/", None).await;
    assert!(page.contains("/auth/oauth/local?next=/identities"), "{page}");
    let (page, at) = agree(&mut alice, "/auth/oauth/local", "Alice <b>").await;
    assert!(at.starts_with(&format!("{url}/?result=identity_pending")), "{at}");
    assert!(page.contains("Nobody here is Alice &lt;b&gt;"), "{page}");
    let form = [("id", hidden(&page, "id")), ("next", "/identities")];
    let (page, at) = alice.go("/auth/pending-identity/register", Some(&form)).await;
    assert_eq!(at, format!("{url}/identities"));
    assert!(page.contains("Alice &lt;b&gt; at local"), "{page}");
    // The next time, nobody asks.
    let mut again = Browser::new(&url);
    let (second, at) = agree(&mut again, "/auth/oauth/local?next=/identities", "alice <B>").await;
    assert_eq!(at, format!("{url}/identities"));
    let account = |page: &str| page.split("You are ").nth(1).map(|rest| rest[..36].to_owned());
    assert_eq!(account(&page), account(&second));
    // It is the only way in, so it cannot be unlinked. The page says so.
    let (page, _) = again.go("/auth/oauth/local/unlink", Some(&[("back", "/")])).await;
    assert!(page.contains("nobody could sign in to the account"), "{page}");
}
