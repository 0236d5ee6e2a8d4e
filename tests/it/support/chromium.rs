//! A real Chromium, controlled through the HTTP interface of chromedriver (W3C WebDriver).

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

/// One browser with a profile on disk.
pub struct Chromium {
    driver: Driver,
    session: String,
    http: reqwest::Client,
    process: u32,
}

#[allow(dead_code, reason = "the examples with pages use the rest of it")]
impl Chromium {
    /// Starts a browser with this profile.
    pub async fn start(chromedriver: &str, profile: &Path) -> Self {
        let driver = Command::new(chromedriver)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts");
        let mut driver = Driver(driver);
        let port = port_of(&mut driver.0);
        let http = reqwest::Client::new();
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--no-first-run",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--password-store=basic",
            &format!("--user-data-dir={}", profile.display()),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
        } } });
        let base = format!("http://127.0.0.1:{port}/session");
        let made = http.post(&base).json(&wanted).send().await.expect("chromedriver answers");
        let made: Value = made.json().await.expect("JSON");
        let id = made["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("{made}"));
        let process = made["value"]["capabilities"]["goog:processID"].as_u64();
        let process = process.and_then(|id| u32::try_from(id).ok()).expect("the browser's process");
        Self { driver, session: format!("{base}/{id}"), http, process }
    }

    async fn ask(&self, command: &str, body: Value) -> Value {
        let url = format!("{}/{command}", self.session);
        let answer = self.http.post(url).json(&body).send().await.expect("chromedriver answers");
        let answer: Value = answer.json().await.expect("JSON");
        assert!(answer["value"].get("error").is_none(), "{command}: {answer}");
        answer["value"].clone()
    }

    pub async fn open(&self, url: &str) {
        self.ask("url", json!({ "url": url })).await;
    }

    /// Returns the address of the page.
    pub async fn address(&self) -> String {
        self.read("url").await
    }

    /// Returns the text that the user sees in an element.
    pub async fn text(&self, css: &str) -> String {
        self.read(&format!("element/{}/text", self.element(css).await)).await
    }

    /// Returns a property of an element, such as the text in a field.
    pub async fn property(&self, css: &str, name: &str) -> String {
        self.read(&format!("element/{}/property/{name}", self.element(css).await)).await
    }

    /// Types a text into a field.
    pub async fn fill(&self, css: &str, text: &str) {
        let element = self.element(css).await;
        self.ask(&format!("element/{element}/clear"), json!({})).await;
        self.ask(&format!("element/{element}/value"), json!({ "text": text })).await;
    }

    /// Clicks on an element that opens no page, such as a checkbox.
    pub async fn check(&self, css: &str) {
        let element = self.element(css).await;
        self.ask(&format!("element/{element}/click"), json!({})).await;
    }

    /// Clicks on an element, and waits for the page that this opens. The driver alone does not wait,
    /// if the browser has not yet begun to leave the page when it looks.
    pub async fn press(&self, css: &str) {
        let element = self.element(css).await;
        self.script("window.isOld = true;").await.expect("the page is there");
        self.ask(&format!("element/{element}/click"), json!({})).await;
        let opens = async {
            let is_new = "return !window.isOld && document.readyState === 'complete';";
            // Between two pages there is none that could run a script.
            while self.script(is_new).await != Some(Value::Bool(true)) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let limit = Duration::from_secs(60);
        tokio::time::timeout(limit, opens).await.unwrap_or_else(|_| panic!("{css} opens no page"));
    }

    async fn script(&self, script: &str) -> Option<Value> {
        let url = format!("{}/execute/sync", self.session);
        let body = json!({ "script": script, "args": [] });
        let answer = self.http.post(url).json(&body).send().await.expect("chromedriver answers");
        let answer: Value = answer.json().await.expect("JSON");
        answer["value"].get("error").is_none().then(|| answer["value"].clone())
    }

    async fn element(&self, css: &str) -> String {
        let found = self.ask("element", json!({ "using": "css selector", "value": css })).await;
        // The W3C standard defines this name.
        let id = found["element-6066-11e4-a52e-4f735466cecf"].as_str();
        id.unwrap_or_else(|| panic!("{css}: {found}")).to_owned()
    }

    async fn read(&self, command: &str) -> String {
        let answer = self.http.get(format!("{}/{command}", self.session)).send().await;
        let answer: Value = answer.expect("chromedriver answers").json().await.expect("JSON");
        let text = answer["value"].as_str();
        text.unwrap_or_else(|| panic!("{command}: {answer}")).to_owned()
    }

    /// Runs a script in the page and returns the value of its promise.
    pub async fn run(&self, script: &str) -> Value {
        let script = format!(
            "const done = arguments[0]; \
             (async () => {{ {script} }})().then(done, error => done('failed: ' + error));"
        );
        self.ask("execute/async", json!({ "script": script, "args": [] })).await
    }

    /// Requests a path from a page of the site. Returns status and text.
    pub async fn fetch(&self, path: &str) -> (u64, String) {
        let script = format!(
            "const answer = await fetch('{path}', {{ cache: 'no-store' }}); \
             return [answer.status, await answer.text()];"
        );
        let answer = self.run(&script).await;
        let status = answer[0].as_u64().unwrap_or_else(|| panic!("{path}: {answer}"));
        (status, answer[1].as_str().unwrap_or_default().to_owned())
    }

    /// Adds an authenticator that confirms everything (Web Authentication Level 3 section 11). Returns its id.
    pub async fn add_authenticator(&self, verifies: bool) -> String {
        let body = json!({ "protocol": "ctap2_1", "transport": "internal", "hasResidentKey": true,
            "hasUserVerification": verifies, "isUserVerified": verifies, "isUserConsenting": true });
        let id = self.ask("webauthn/authenticator", body).await;
        id.as_str().unwrap_or_else(|| panic!("{id}")).to_owned()
    }

    /// Removes an authenticator.
    pub async fn remove_authenticator(&self, id: &str) {
        let url = format!("{}/webauthn/authenticator/{id}", self.session);
        let answer = self.http.delete(url).send().await.expect("chromedriver answers");
        assert!(answer.status().is_success(), "{answer:?}");
    }

    /// Closes the browser as its user does, so that its data is written to disk.
    pub async fn quit(mut self) {
        let answer = self.http.delete(&self.session).send().await;
        answer.expect("chromedriver answers");
        self.stop();
    }

    /// Kills the browser and all its processes at once. Data that was not written is lost.
    pub fn kill(mut self) {
        let mut doomed = vec![self.process];
        let mut at = 0;
        while at < doomed.len() {
            doomed.extend(children_of(doomed[at]));
            at += 1;
        }
        let ids: Vec<_> = doomed.iter().map(ToString::to_string).collect();
        let killed = Command::new("kill").arg("-9").args(&ids).stderr(Stdio::null()).status();
        killed.expect("kill runs");
        while alive(self.process) {
            std::thread::yield_now();
        }
        self.stop();
    }

    fn stop(&mut self) {
        self.driver.stop();
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let process = self.process.to_string();
        if alive(self.process) {
            let _ = Command::new("kill").args(["-9", &process]).stderr(Stdio::null()).status();
        }
        self.stop();
    }
}

/// A chromedriver process, which ends with the test in any case.
struct Driver(Child);

impl Driver {
    fn stop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Returns the port on which chromedriver says that it listens.
fn port_of(driver: &mut Child) -> u16 {
    let output = driver.stdout.take().expect("it is piped");
    let mut lines = BufReader::new(output).lines();
    let port = lines.find_map(|line| {
        let line = line.expect("a line");
        let (_, port) = line.rsplit_once("successfully on port ")?;
        port.trim_end_matches('.').parse().ok()
    });
    // Later output is read and dropped. Otherwise chromedriver would wait for a reader.
    std::thread::spawn(move || lines.for_each(drop));
    port.expect("chromedriver says its port")
}

fn children_of(process: u32) -> Vec<u32> {
    let list = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children"));
    list.unwrap_or_default().split_whitespace().filter_map(|id| id.parse().ok()).collect()
}

/// Returns whether a process runs. A dead process that waits for its parent does not run.
fn alive(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}
