//! Pages that are rendered on the server, without a script: registration, sign-in and sign-out, a
//! page for members, a forgotten password, the list of sessions, a new password, and an action that
//! asks for the password again.
//!
//! The application only renders pages. All forms post to the mounted routes. With a login page,
//! these routes answer a browser with a redirect: to the path in `next` after a success, and to the
//! path in `back` after a refusal. There, `FormFeedback` has the message and what was typed. So a
//! reload never sends a form again.
//!
//! Start the example with `cargo run -p pages`, and open the address that it prints. It prints its
//! mails too.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::LazyLock;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::{Next, from_fn};
use axum::response::{Html, Redirect, Response};
use axum::routing::get;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value, context};
use portcullis::base::redirect::ReturnTo;
use portcullis::config::{LinkConfig, Unauthenticated};
use portcullis::identity::owner;
use portcullis::message::ConsoleNotifier;
use portcullis::page::{FormFeedback, LinkToken};
use portcullis::{
    Account, AccountOwner, Builder, Config, Portcullis, Rejection, Requirement, Secret, login,
    own_session, password_change, password_reset, public, registration, verification,
};
use portcullis_migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectOptions, Database, DatabaseConnection};

#[cfg(test)]
mod tests;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let db = connect(&directory).await?;
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 3005)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let auth = with_pages(Portcullis::builder(db))
        .secret(Secret::load_or_create(directory.path().join("secret"))?)
        // Links in mails start with this URL.
        .public_url(&url)
        // Prints mail on the terminal. In production, use an `SmtpNotifier`.
        .notifier(ConsoleNotifier)
        .build()?;
    println!("pages serves {url}; Ctrl-C stops it");
    let service = app(&auth).into_make_service_with_connect_info::<SocketAddr>();
    tokio::select! {
        result = axum::serve(listener, service).into_future() => result?,
        _ = tokio::signal::ctrl_c() => {}
    }
    // Finishes the work of requests whose clients disconnected.
    let _ = tokio::time::timeout(Duration::from_secs(10), auth.drain()).await;
    Ok(())
}

async fn connect(directory: &tempfile::TempDir) -> Result<DatabaseConnection, Box<dyn Error>> {
    let file = directory.path().join("pages.sqlite");
    let mut options = ConnectOptions::new(format!("sqlite://{}?mode=rwc", file.display()));
    options.test_before_acquire_if_idle_for(Duration::from_secs(30)).sqlx_logging(false);
    let db = Database::connect(options).await?;
    Migrator::up(&db, None).await?;
    Ok(db)
}

/// Configures the paths of the pages.
fn with_pages(builder: Builder) -> Builder {
    builder.configure(|config: &mut Config| {
        config.service.unauthenticated = Unauthenticated::LoginPage("/login".to_owned());
        config.service.step_up_page = Some("/reauthenticate".to_owned());
        config.password.change_page = Some("/password".to_owned());
        // Without a script, no page can read the part of an address after the `#`.
        config.mail.links = LinkConfig::in_query();
    })
}

/// The maximum age of the last password check before a dangerous action.
const RECENT: Duration = Duration::from_secs(5 * 60);

fn app(auth: &Portcullis) -> Router {
    let routes = login::routes(auth)
        .merge(registration::routes(auth))
        .merge(verification::routes(auth))
        .merge(password_reset::routes(auth))
        .merge(password_change::routes(auth))
        .merge(own_session::routes(auth));
    auth.router()
        .auth_routes("/auth", routes)
        .route("/", get(home), public())
        .route("/register", get(register), public())
        .route("/login", get(sign_in), public())
        .route("/forgot", get(forgot), public())
        // The pages of the links in mails. Opening a page changes nothing. Only its form does.
        .route("/password/reset", get(reset), public())
        .route("/verify", get(verify), public())
        // An unfinished sign-in that must set a new password needs this page too, so anyone may
        // open it. The route of the form decides who may post it.
        .route("/password", get(password), public())
        .route("/members", get(members), Requirement::signed_in())
        .route("/sessions", get(sessions), Requirement::signed_in())
        .route("/reauthenticate", get(reauthenticate), Requirement::signed_in())
        .route("/danger", get(danger).post(do_it), Requirement::within(RECENT))
        .route("/page.css", get(style), public())
        .into_router()
        .layer(from_fn(for_browsers))
}

async fn home(account: Option<Account>, form: FormFeedback) -> Html<String> {
    let name = account.as_ref().and_then(Account::username);
    form_page("home.html", form, context! { name })
}

async fn register(form: FormFeedback) -> Html<String> {
    form_page("register.html", form, context! {})
}

async fn sign_in(form: FormFeedback) -> Html<String> {
    form_page("login.html", form, context! {})
}

async fn forgot(form: FormFeedback) -> Html<String> {
    form_page("forgot.html", form, context! {})
}

/// `LinkToken` has already removed the token from the address.
async fn reset(link: LinkToken, form: FormFeedback) -> Html<String> {
    form_page("reset.html", form, context! { token => link.as_str() })
}

async fn verify(link: LinkToken, form: FormFeedback) -> Html<String> {
    form_page("verify.html", form, context! { token => link.as_str() })
}

async fn password(account: Option<Account>, form: FormFeedback) -> Html<String> {
    // Without an account, this is an unfinished sign-in that has just proved the old password.
    form_page("password.html", form, context! { asks_old => account.is_some() })
}

async fn members(account: Account) -> Html<String> {
    page("members.html", context! { name => account.username() })
}

async fn sessions(
    auth: Portcullis,
    owner: AccountOwner<owner::Sessions>,
    form: FormFeedback,
) -> Result<Html<String>, Rejection> {
    let list = auth.own_sessions(&owner).list().await?;
    let sessions: Vec<Value> = list
        .iter()
        .map(|session| {
            context! {
                id => session.id.to_string(),
                current => session.id == owner.session().id(),
                browser => session.user_agent.as_deref(),
                address => session.address.map(|address| address.to_string()),
            }
        })
        .collect();
    Ok(form_page("sessions.html", form, context! { sessions }))
}

async fn reauthenticate(account: Account, form: FormFeedback) -> Html<String> {
    form_page("reauthenticate.html", form, context! { name => account.username() })
}

async fn danger() -> Html<String> {
    page("danger.html", context! {})
}

/// An action of the application. It redirects the browser to a page, so that a reload does not
/// repeat it.
async fn do_it(account: Account) -> Redirect {
    println!("{} did something dangerous", account.id());
    Redirect::to("/?result=done")
}

async fn style() -> ([(&'static str, &'static str); 1], &'static str) {
    ([("content-type", "text/css")], include_str!("../templates/page.css"))
}

fn form_page(template: &str, form: FormFeedback, values: Value) -> Html<String> {
    page(template, context! { form => Serde(form), ..values })
}

/// Renders a page. Templates whose names end in `.html` escape every value.
fn page(template: &str, values: Value) -> Html<String> {
    static PAGES: LazyLock<Environment<'static>> = LazyLock::new(|| {
        let mut pages = Environment::new();
        // The layout reads `form.error`, also on a page without a form.
        pages.set_undefined_behavior(UndefinedBehavior::Chainable);
        for (name, source) in [
            ("layout.html", include_str!("../templates/layout.html")),
            ("fields.html", include_str!("../templates/fields.html")),
            ("home.html", include_str!("../templates/home.html")),
            ("register.html", include_str!("../templates/register.html")),
            ("login.html", include_str!("../templates/login.html")),
            ("forgot.html", include_str!("../templates/forgot.html")),
            ("reset.html", include_str!("../templates/reset.html")),
            ("verify.html", include_str!("../templates/verify.html")),
            ("password.html", include_str!("../templates/password.html")),
            ("members.html", include_str!("../templates/members.html")),
            ("sessions.html", include_str!("../templates/sessions.html")),
            ("reauthenticate.html", include_str!("../templates/reauthenticate.html")),
            ("danger.html", include_str!("../templates/danger.html")),
            ("refused.html", include_str!("../templates/refused.html")),
        ] {
            pages.add_template(name, source).expect("the template is valid");
        }
        pages
    });
    let page = PAGES.get_template(template).and_then(|page| page.render(values));
    Html(page.expect("the template is there and fits its values"))
}

/// Shows a refusal as a page, because a browser would show JSON. Adds the headers of all pages.
async fn for_browsers(request: Request, next: Next) -> Response {
    let again = ReturnTo::parse(request.uri().path())
        .map(|path| format!("/reauthenticate?next={}", path.as_query_value()));
    let mut response = next.run(request).await;
    let refused = response.extensions().get::<Rejection>().map(Rejection::document);
    if let Some(problem) = refused.filter(|_| !response.status().is_redirection()) {
        let html = page("refused.html", context! { problem => Serde(problem), again });
        *response.body_mut() = Body::from(html.0);
        let headers = response.headers_mut();
        headers.remove(CONTENT_LENGTH);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    }
    add_headers(response.headers_mut());
    response
}

fn add_headers(headers: &mut HeaderMap) {
    // No page may run a script, and no site may show a page in a frame.
    const POLICY: &str = "default-src 'none'; style-src 'self'; img-src data:; \
        form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not `no-referrer`: browsers would then send forms with `Origin: null`, and an old browser
        // could not prove that a form comes from this service.
        (REFERRER_POLICY, "same-origin"),
        // A page may contain what a user typed.
        (CACHE_CONTROL, "no-store"),
    ] {
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}
