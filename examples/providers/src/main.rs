//! Signing in with a provider, linking an identity, and unlinking it, on pages without a script.
//!
//! Run `cargo run -p providers` and open the address that it prints. The provider runs in the same process, at
//! another port, and believes every name. So the example needs no account anywhere. `provider.rs` is that provider,
//! and no part of your service. With `GOOGLE_CLIENT_ID` and `GOOGLE_CLIENT_SECRET` there is a second button.

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;

use axum::Router;
use axum::http::HeaderMap;
use axum::response::Html;
use axum::routing::get;
use portcullis::config::{IdTokenAlgorithm, Provider, ProviderPolicy, Unauthenticated};
use portcullis::federation::{self, PendingIdentity};
use portcullis::identity::owner::{AccountOwner, Factors};
use portcullis::page::FormFeedback;
use portcullis::{Account, Identity, Portcullis, Rejection, Secret, public};
use portcullis_migration::{Migrator, MigratorTrait};
use sea_orm::Database;

mod provider;
#[cfg(test)]
mod tests;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("providers: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let port = match std::env::args().nth(1) {
        Some(port) => port.parse().map_err(|_| format!("`{port}` is not a port"))?,
        None => 3000,
    };
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("providers.sqlite");
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await;
    let listener = listener.map_err(|error| format!("port {port}: {error}"))?;
    let url = format!("http://localhost:{}", listener.local_addr()?.port());
    // The provider knows our callback, as a real one does after you have registered it there.
    let local = provider::start(&format!("{url}/auth/oauth/local/callback")).await?;
    let auth = instance(&path.display().to_string(), &url, &local).await?;
    println!("open {url} (the provider is at {}); Ctrl-C stops both", local.issuer);
    let service = app(&auth).into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, service);
    tokio::select! {
        result = serving.into_future() => result?,
        _ = tokio::signal::ctrl_c() => {}
    }
    auth.drain().await;
    Ok(())
}

async fn instance(
    path: &str,
    url: &str,
    local: &provider::Local,
) -> Result<Portcullis, Box<dyn Error>> {
    let db = Database::connect(format!("sqlite:{path}?mode=rwc")).await?;
    Migrator::up(&db, None).await?;
    let ours = Provider::openid("local", &local.issuer, provider::CLIENT, &local.client_secret)
        .label("the provider of this example")
        // A person is asked before they get an account.
        .policy(ProviderPolicy::OnRequest)
        .algorithm(IdTokenAlgorithm::EdDsa)
        // It runs on this machine, without TLS. A provider in the internet needs no such line.
        .danger_private_addresses();
    let mut builder = Portcullis::builder(db)
        // In production, load it from the same place as your other secrets.
        .secret(Secret::generate())
        .public_url(url)
        .configure(|config| {
            // Browsers that were refused are led there, with `?error=`.
            config.service.unauthenticated = Unauthenticated::LoginPage("/".to_owned());
        })
        .provider(ours);
    let (id, secret) = ("GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET");
    if let (Ok(id), Ok(secret)) = (std::env::var(id), std::env::var(secret)) {
        builder = builder.provider(Provider::google(id, secret));
    }
    Ok(builder.build()?)
}

fn app(auth: &Portcullis) -> Router {
    auth.router()
        .route("/", get(home), public())
        .route("/identities", get(identities), portcullis::Requirement::signed_in())
        .auth_routes("/auth", auth.routes().merge(federation::routes(auth)))
        .into_router()
}

/// The only page for strangers. It shows what went wrong, and what the person has to decide.
async fn home(
    auth: Portcullis,
    account: Option<Account>,
    headers: HeaderMap,
    form: FormFeedback,
) -> Result<Html<String>, Rejection> {
    let mut page = String::new();
    if let Some(error) = &form.message {
        page += &format!("<p role=alert>{}</p>", text(error));
    }
    if let Some(asked) = auth.federation().with_cookie(&headers).pending().await? {
        page += &question(&asked, account.is_some());
    }
    match account {
        Some(account) => {
            page += &format!(
                "<p>You are signed in as {}.</p><p><a href=\"/identities\">Your identities</a></p>\
                 <form method=post action=\"/auth/logout\"><button>Sign out</button></form>",
                account.id()
            );
        }
        None => {
            for provider in auth.federation().providers() {
                // A link and no form: the policy `form-action 'self'` stops forms whose answer leads elsewhere.
                page += &format!(
                    "<p><a href=\"/auth/oauth/{}?next=/identities\">Sign in with {}</a></p>",
                    provider.name(),
                    text(provider.shown_as())
                );
            }
        }
    }
    Ok(html(&page))
}

/// Names the identity before the person decides. The form names it too, so the decision is about what was shown.
fn question(asked: &PendingIdentity, signed_in: bool) -> String {
    let who = asked.display_name.as_deref().or(asked.email.as_deref()).unwrap_or("somebody");
    let who = format!("{} ({})", text(who), text(&asked.label));
    let form = |action: &str, button: &str| {
        format!(
            "<form method=post action=\"/auth/pending-identity/{action}\">\
             <input type=hidden name=id value=\"{}\"><input type=hidden name=next value=\"/identities\">\
             <button>{button}</button></form>",
            asked.id
        )
    };
    match signed_in {
        true => format!(
            "<h2>Link {who} to your account?</h2>{}{}",
            form("link", "Link it"),
            form("discard", "No")
        ),
        false if asked.links => String::new(),
        false => format!(
            "<h2>Nobody here is {who} yet</h2>{}{}<p>Have an account? Sign in to it, and link this identity.</p>",
            form("register", "Make an account"),
            form("discard", "No")
        ),
    }
}

/// What is linked to the account.
async fn identities(
    auth: Portcullis,
    owner: AccountOwner<Factors>,
    identity: Identity,
) -> Result<Html<String>, Rejection> {
    let mut page = format!("<p>You are {}.</p><ul>", identity.account().id());
    for one in auth.federation().list(&owner).await? {
        let who = one.display_name.as_deref().or(one.email.as_deref()).unwrap_or("no name");
        page += &format!(
            "<li>{} at {} <form method=post action=\"/auth/oauth/{}/unlink\">\
             <input type=hidden name=back value=\"/\"><button>Unlink</button></form></li>",
            text(who),
            text(&one.provider),
            one.provider
        );
    }
    page += "</ul>";
    for provider in auth.federation().providers() {
        let name = provider.name();
        page += &format!(
            "<p><a href=\"/auth/oauth/{name}?intent=link&amp;next=/\">Link an identity of {0}</a> · \
             <a href=\"/auth/oauth/{name}?intent=step_up&amp;next=/identities\">Confirm with {0} that it is you</a></p>",
            text(provider.shown_as())
        );
    }
    Ok(html(&page))
}

fn html(body: &str) -> Html<String> {
    Html(format!(
        "<!doctype html><meta charset=utf-8><title>Providers</title><h1>Providers</h1>{body}"
    ))
}

/// Escapes a text of somebody else.
fn text(text: &str) -> String {
    let escaped = text.chars().map(|found| match found {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        '\'' => "&#39;".to_owned(),
        other => other.to_string(),
    });
    escaped.collect()
}
