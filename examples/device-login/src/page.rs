//! The pages: signing in, and the page on which a person decides about a device.

use axum::extract::{Form, Query};
use axum::response::Html;
use portcullis::device_login::{DeviceLoginError, DeviceRequest, DeviceRequestState};
use portcullis::identity::owner::Devices;
use portcullis::page::FormFeedback;
use portcullis::{Account, AccountOwner, ClientInfo, Portcullis, Rejection};
use serde::Deserialize;

pub(crate) async fn home(account: Option<Account>) -> Html<String> {
    page(&match account.as_ref().and_then(Account::username) {
        Some(name) => format!(
            "<p>You are {}.</p><p><a href=\"/device\">Sign in a device</a></p>",
            escaped(name)
        ),
        None => "<p><a href=\"/login\">Sign in or register</a></p>".to_owned(),
    })
}

pub(crate) async fn sign_in(form: FormFeedback) -> Html<String> {
    let next = form.next.as_deref().map_or("/".to_owned(), escaped);
    let fields = format!(
        "<input name=\"next\" type=\"hidden\" value=\"{next}\">\
         <input name=\"back\" type=\"hidden\" value=\"/login\">\
         <p><label>Password <input name=\"password\" type=\"password\"></label></p>"
    );
    page(&format!(
        "{}<form method=\"post\" action=\"/auth/login\"><p><label>Name <input name=\"login\"></label></p>{fields}\
         <button>Sign in</button></form>\
         <form method=\"post\" action=\"/auth/register\"><p><label>Name <input name=\"username\"></label></p>{fields}\
         <button>Register</button></form>",
        told(&form)
    ))
}

pub(crate) async fn prove(form: FormFeedback) -> Html<String> {
    let next = form.next.as_deref().map_or("/".to_owned(), escaped);
    page(&format!(
        "{}<form method=\"post\" action=\"/auth/reauthenticate\">\
         <input name=\"next\" type=\"hidden\" value=\"{next}\">\
         <input name=\"back\" type=\"hidden\" value=\"/reauthenticate\">\
         <p><label>Your password again <input name=\"password\" type=\"password\"></label></p>\
         <button>Continue</button></form>",
        told(&form)
    ))
}

#[derive(Deserialize)]
pub(crate) struct Typed {
    user_code: Option<String>,
}

/// Shows the request. Opening the page decides nothing: anyone could have written the link.
pub(crate) async fn device(
    auth: Portcullis,
    owner: AccountOwner<Devices>,
    client: ClientInfo,
    Query(Typed { user_code }): Query<Typed>,
) -> Result<Html<String>, Rejection> {
    let Some(code) = user_code.filter(|code| !code.is_empty()) else {
        return Ok(page(&ask("Type the code that the device shows.")));
    };
    match auth.device_login().look(&owner, &code, &client).await {
        Ok(request) => Ok(page(&shown(&request, &code))),
        Err(refused @ (DeviceLoginError::NotFound | DeviceLoginError::RateLimited(_))) => {
            Ok(page(&ask(&refused.to_string())))
        }
        Err(other) => Err(other.into()),
    }
}

fn ask(text: &str) -> String {
    format!(
        "<p>{}</p><form><p><label>Code <input name=\"user_code\" autocomplete=\"off\"></label></p>\
         <button>Continue</button></form>",
        escaped(text)
    )
}

fn shown(request: &DeviceRequest, code: &str) -> String {
    let Some(view) = request.view().filter(|_| request.state == DeviceRequestState::Pending) else {
        return format!("<p>This request is {}.</p>", request.state.as_str());
    };
    let claim = |text: &Option<String>| match text {
        Some(text) => format!("&ldquo;{}&rdquo;", escaped(text)),
        None => "nothing".to_owned(),
    };
    let address =
        request.address.map_or("an unknown address".to_owned(), |address| address.to_string());
    let network = request.networks.in_words().unwrap_or_default();
    // "Deny" comes first and has the focus.
    format!(
        "<h1>{client} wants to be signed in to your account</h1>\
         <p>Compare: does the device show <b>{code}</b> and <b>{phrase}</b>?</p>\
         <ul><li>It asked at {time}, from {address}. {network}</li>\
         <li>It calls its program {agent}.</li>\
         <li>It says that its name is {name}, and that it is for {message}. Nobody has checked this.</li>\
         <li>It will be able to: {permissions}</li></ul>\
         <p><b>If you did not start this yourself just now, deny it.</b> Nobody needs your approval to help you.</p>\
         <form method=\"post\" action=\"/device\">\
         <input name=\"user_code\" type=\"hidden\" value=\"{code}\">\
         <input name=\"view\" type=\"hidden\" value=\"{view}\">\
         <button name=\"decision\" value=\"deny\" autofocus>Deny</button>\
         <button name=\"decision\" value=\"report\">Somebody else sent me this code</button>\
         <button name=\"decision\" value=\"approve\">Approve</button></form>",
        client = escaped(&request.client_name),
        code = escaped(code),
        phrase = escaped(&request.phrase),
        time = request.created_at,
        agent = claim(&request.user_agent),
        name = claim(&request.claimed_name),
        message = claim(&request.claimed_message),
        permissions = escaped(&request.permissions.join(", ")),
        view = escaped(view),
    )
}

#[derive(Deserialize)]
pub(crate) struct Decision {
    user_code: String,
    view: String,
    decision: String,
}

pub(crate) async fn decide(
    auth: Portcullis,
    owner: AccountOwner<Devices>,
    client: ClientInfo,
    Form(Decision { user_code, view, decision }): Form<Decision>,
) -> Result<Html<String>, Rejection> {
    let flow = auth.device_login();
    let result = match decision.as_str() {
        "approve" => flow
            .approve(&owner, &user_code, &view, None, &client)
            .await
            .map(|_| "The device is signed in."),
        "report" => flow
            .report(&owner, &user_code, &view, &client)
            .await
            .map(|()| "Thank you. It was denied."),
        _ => flow.deny(&owner, &user_code, &view, &client).await.map(|()| "It was denied."),
    };
    match result {
        Ok(text) => Ok(page(&format!("<p>{text}</p>"))),
        Err(DeviceLoginError::Fault(fault)) => Err(fault.into()),
        Err(refused) => Ok(page(&ask(&refused.to_string()))),
    }
}

fn told(form: &FormFeedback) -> String {
    form.message.as_deref().map_or(String::new(), |text| format!("<p>{}</p>", escaped(text)))
}

fn page(body: &str) -> Html<String> {
    Html(format!("<!doctype html><meta charset=\"utf-8\"><title>device-login</title>{body}"))
}

/// What others wrote, for a page.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for found in text.chars() {
        match found {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}
