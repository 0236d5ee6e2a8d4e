//! The program for the command line. It knows nothing of portcullis, only RFC 8628 and RFC 8414.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde::Deserialize;

const CLIENT: &str = "notes-cli";
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";

#[derive(Deserialize)]
struct Metadata {
    device_authorization_endpoint: String,
    token_endpoint: String,
}

#[derive(Deserialize)]
struct Started {
    device_code: String,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: String,
    interval: u64,
    phrase: String,
}

#[derive(Deserialize)]
struct Polled {
    access_token: Option<String>,
    error: Option<String>,
}

/// A sign-in that waits for a person.
pub(crate) struct SignIn {
    http: reqwest::Client,
    service: String,
    token_endpoint: String,
    started: Started,
}

/// Asks a service to be signed in, and prints what a person needs.
pub(crate) async fn start(service: &str) -> Result<SignIn, Box<dyn Error>> {
    let http = reqwest::Client::builder().user_agent(CLIENT).build()?;
    let metadata = format!("{service}/.well-known/oauth-authorization-server");
    let metadata: Metadata = http.get(metadata).send().await?.error_for_status()?.json().await?;
    let form = [("client_id", CLIENT), ("scope", "note:read"), ("device_name", "a terminal")];
    let started = http.post(&metadata.device_authorization_endpoint).form(&form).send().await?;
    let started: Started = started.error_for_status()?.json().await?;
    println!("Open {} on a device on which you are signed in.", started.verification_uri);
    println!("Type {}. The page shows the words \"{}\".", started.user_code, started.phrase);
    println!("{}", drawn(&started.verification_uri_complete)?);
    Ok(SignIn {
        http,
        service: service.to_owned(),
        token_endpoint: metadata.token_endpoint,
        started,
    })
}

impl SignIn {
    /// The code that the person types.
    #[cfg(test)]
    pub(crate) fn user_code(&self) -> &str {
        &self.started.user_code
    }

    /// The words that the page must show too.
    #[cfg(test)]
    pub(crate) fn phrase(&self) -> &str {
        &self.started.phrase
    }

    /// Asks until a person has decided, and returns the name of the account. The token stays in memory. A
    /// program that keeps it stores it where only its user can read it.
    pub(crate) async fn finish<F: Future<Output = ()>>(
        self,
        wait: impl Fn(Duration) -> F,
    ) -> Result<String, Box<dyn Error>> {
        let mut interval = Duration::from_secs(self.started.interval);
        let token = loop {
            wait(interval).await;
            let form = [
                ("grant_type", GRANT_TYPE),
                ("device_code", self.started.device_code.as_str()),
                ("client_id", CLIENT),
            ];
            let polled = self.http.post(&self.token_endpoint).form(&form).send().await?;
            let polled: Polled = polled.json().await?;
            match (polled.access_token, polled.error.as_deref()) {
                (Some(token), _) => break token,
                (None, Some("authorization_pending")) => {}
                (None, Some("slow_down")) => interval += Duration::from_secs(5),
                (None, error) => return Err(error.unwrap_or("an unknown answer").into()),
            }
        };
        let who = format!("{}/whoami", self.service);
        let name = self.http.get(who).bearer_auth(&token).send().await?;
        let name = name.error_for_status()?.text().await?;
        println!("Signed in as {name}.");
        Ok(name)
    }
}

/// Draws a QR code with characters.
fn drawn(text: &str) -> Result<String, Box<dyn Error>> {
    let code = QrCode::new(text)?;
    // Most terminals are dark.
    let mut drawn = code.render::<Dense1x2>();
    Ok(drawn.dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}
