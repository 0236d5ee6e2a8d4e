//! The routes of signing in with providers.

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{Html, IntoResponse, Response};
use http::header::{CONTENT_SECURITY_POLICY, HeaderName, LOCATION, REFERRER_POLICY};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::InvalidLogoutToken;
use super::{
    Federation, FederationError, PendingIdentity, ProviderOutcome, ProviderRegistration,
    ProviderReturn,
};
use crate::base::client::ClientInfo;
use crate::base::id::PendingIdentityId;
use crate::base::problem::{Rejection, see_other};
use crate::base::redirect::ReturnTo;
use crate::base::same_origin::CrossSite;
use crate::config::SameSite;
use crate::guard::decision::original_uri;
use crate::guard::description::{RouteBody, RouteCaller};
use crate::handle::Portcullis;
use crate::identity::request_identity::RequestIdentity;
use crate::identity::{AccountOwner, AuthError, owner};
use crate::oidc::ProviderRefusal;
use crate::route::{
    self, FormResult, JsonOrForm, Navigation, Parameters, mount, mount_for_anyone, row, signed_in,
    signed_in_with,
};

/// The parameter of a callback that was answered by a page of ours first.
const AGAIN: &str = "again";

/// The routes of signing in with providers. They are not part of [`Portcullis::routes`]: mount them when there is a provider.
pub fn routes<S: Clone + Send + Sync + 'static>(auth: &Portcullis) -> Router<S> {
    let owner = RouteCaller::owner::<owner::Factors>();
    let own = mount(
        auth,
        "federation",
        [
            row(Method::GET, "/oauth", list).by(owner),
            row(Method::GET, "/oauth/{provider}", start)
                .answers(&[StatusCode::SEE_OTHER])
                .refuses(&START),
            row(Method::DELETE, "/oauth/{provider}", unlink).by(owner).refuses(&UNLINK),
            row(Method::POST, "/oauth/{provider}/unlink", unlink).by(owner).refuses(&UNLINK),
            row(Method::GET, "/pending-identity", pending),
            row(Method::POST, "/pending-identity/link", link)
                .by(owner)
                .takes(RouteBody::JsonOrForm)
                .refuses(&[
                    "address_not_proved",
                    "identity_of_other_account",
                    "insufficient_user_authentication",
                    "pending_identity_ended",
                    "provider_already_linked",
                    "provider_not_found",
                    "session_limit",
                ]),
            row(Method::POST, "/pending-identity/register", register)
                .takes(RouteBody::JsonOrForm)
                .answers(&[StatusCode::CREATED])
                .refuses(&[
                    "account_exists",
                    "identity_not_linked",
                    "identity_of_other_account",
                    "invalid_fields",
                    "multiple_credentials",
                    "pending_identity_ended",
                    "provider_not_for_sign_in",
                    "provider_not_found",
                    "session_ended",
                    "session_limit",
                    "username_taken",
                    "verified_address_needed",
                ]),
            row(Method::POST, "/pending-identity/discard", discard)
                .takes(RouteBody::JsonOrForm)
                .answers(&[StatusCode::NO_CONTENT]),
        ],
    );
    let of_providers = mount_for_anyone(
        auth,
        "federation_providers",
        [
            row(Method::GET, "/oauth/{provider}/callback", callback)
                .answers(&[StatusCode::OK, StatusCode::SEE_OTHER])
                .refuses(&CALLBACK),
            row(Method::POST, "/oauth/{provider}/callback", form_callback)
                .takes(RouteBody::Form)
                .answers(&[StatusCode::SEE_OTHER])
                .refuses(&["provider_not_accepted"]),
            row(Method::POST, "/oauth/{provider}/backchannel-logout", backchannel_logout)
                .takes(RouteBody::Form)
                .refuses(&["invalid_logout_token", "provider_not_found", "provider_unavailable"]),
        ],
    );
    own.merge(of_providers)
}

const START: [&str; 26] = [
    "address_not_proved",
    "api_key_account_unusable",
    "api_key_expired",
    "api_key_revoked",
    "cross_site_request",
    "enrolment_required",
    "insufficient_user_authentication",
    "invalid_api_key",
    "invalid_body",
    "invalid_dpop_proof",
    "invalid_token",
    "limited_session",
    "multiple_credentials",
    "not_signed_in",
    "password_change_required",
    "provider_not_accepted",
    "provider_not_for_sign_in",
    "provider_not_found",
    "provider_unavailable",
    "second_factor_required",
    "session_ended",
    "session_expired",
    "session_required",
    "session_suspicious",
    "token_expired",
    "use_dpop_nonce",
];

const CALLBACK: [&str; 21] = [
    "account_exists",
    "identity_cannot_sign_in",
    "identity_not_found",
    "identity_not_linked",
    "identity_of_other_account",
    "invalid_fields",
    "multiple_credentials",
    "provider_already_linked",
    "provider_cancelled",
    "provider_did_not_ask",
    "provider_failed",
    "provider_flow_ended",
    "provider_not_accepted",
    "provider_not_for_sign_in",
    "provider_not_found",
    "provider_unavailable",
    "session_ended",
    "session_limit",
    "use_dpop_nonce",
    "username_taken",
    "verified_address_needed",
];

const UNLINK: [&str; 4] =
    ["identity_not_found", "insufficient_user_authentication", "last_way_in", "session_limit"];

type Name = Result<Path<String>, PathRejection>;

fn named(name: Name) -> Result<String, FederationError> {
    name.map(|Path(name)| name).map_err(|_| FederationError::UnknownProvider)
}

/// What a browser goes to a provider for.
#[derive(Default, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StartIntent {
    #[default]
    SignIn,
    Link,
    StepUp,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StartQuery {
    next: Option<String>,
    remember: Option<bool>,
    #[serde(default)]
    intent: StartIntent,
}

async fn start(
    State(auth): State<Portcullis>,
    name: Name,
    client: ClientInfo,
    parts: Parts,
) -> Response {
    let query = route::query::<StartQuery>(parts.uri.query());
    let next = query.as_ref().ok().and_then(|query| query.next.as_deref());
    let next = next.and_then(ReturnTo::parse);
    let linked = query.as_ref().is_ok_and(|query| query.intent != StartIntent::SignIn);
    let started = match query {
        Ok(query) => begin(&auth, name, &client, &parts, query, next.clone()).await,
        Err(error) => Err(error.into()),
    };
    match started {
        Ok(response) => response,
        Err(rejection) => refused(&auth, &parts, &rejection, next, linked),
    }
}

async fn begin(
    auth: &Portcullis,
    name: Name,
    client: &ClientInfo,
    parts: &Parts,
    query: StartQuery,
    next: Option<ReturnTo>,
) -> Result<Response, Rejection> {
    let provider = named(name)?;
    check_site(&parts.headers, query.intent)?;
    let mut to = ProviderReturn::new(redirect_uri(auth, parts, &provider)?)
        .remember(query.remember.unwrap_or(true));
    if let Some(page) = next {
        to = to.next(page);
    }
    let flow = auth.federation().with_cookie(&parts.headers);
    let started = match query.intent {
        StartIntent::SignIn => flow.start(&provider, to, client).await?,
        StartIntent::Link => {
            let request_identity = RequestIdentity::of(&parts.extensions)?;
            let identity = request_identity.full().await?;
            let owner: AccountOwner<owner::Factors> = request_identity.owner(&identity)?;
            flow.start_link(&owner, &provider, to, client).await?
        }
        StartIntent::StepUp => {
            let identity = RequestIdentity::of(&parts.extensions)?.full().await?;
            flow.start_step_up(&identity, &provider, to, client).await?
        }
    };
    let location = HeaderValue::try_from(started.location)
        .map_err(|_| FederationError::from(ProviderRefusal::Endpoint))?;
    let response = see_other(().into_response(), location);
    let mut response = (started.browser, response).into_response();
    response.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}

/// A page of another site must not send its visitors to a provider from here. A page of another subdomain may offer to sign in.
fn check_site(headers: &HeaderMap, intent: StartIntent) -> Result<(), AuthError> {
    let mut sites = headers.get_all(HeaderName::from_static("sec-fetch-site")).iter();
    let is_ours = match (sites.next().map(HeaderValue::as_bytes), sites.next()) {
        (None | Some(b"same-origin" | b"none"), None) => true,
        (Some(b"same-site"), None) => intent == StartIntent::SignIn,
        _ => false,
    };
    if is_ours { Ok(()) } else { Err(AuthError::CrossSite(CrossSite::FetchSite)) }
}

/// Returns the address of the callback of a provider. Its origin is configured, and its path is that of these routes.
fn redirect_uri(
    auth: &Portcullis,
    parts: &Parts,
    provider: &str,
) -> Result<String, FederationError> {
    let public = auth.context().config.public_url().ok_or(FederationError::UnknownProvider)?;
    let path = original_uri(parts).path();
    let base = path.rsplitn(3, '/').nth(2).unwrap_or_default();
    Ok(format!("{public}{base}/oauth/{provider}/callback"))
}

/// Answers a browser with a redirect to a page, and anybody else with the problem.
fn refused(
    auth: &Portcullis,
    parts: &Parts,
    rejection: &Rejection,
    next: Option<ReturnTo>,
    back: bool,
) -> Response {
    match Navigation::of(auth, &parts.headers, &parts.extensions) {
        // A person who is signed in comes back to the page from which they went away.
        Some(pages) if back => pages.back(next).refused(rejection),
        Some(pages) => pages.next(next).refused(rejection),
        None => rejection.response(),
    }
}

async fn callback(
    State(auth): State<Portcullis>,
    name: Name,
    client: ClientInfo,
    parts: Parts,
) -> Response {
    let query = parts.uri.query().unwrap_or_default();
    let parameters: Vec<(String, String)> = serde_urlencoded::from_str(query).unwrap_or_default();
    // A browser sends no `Strict` cookie with the redirect of another site. It does with the next step from a page of ours.
    let strict = auth.context().config.cookie.same_site == SameSite::Strict;
    if strict && !parameters.iter().any(|(name, _)| name == AGAIN) {
        return once_more(query);
    }
    let finished = finish(&auth, name, &parameters, &client, &parts).await;
    let mut response = match finished {
        Ok((response, next)) => match Navigation::of(&auth, &parts.headers, &parts.extensions) {
            // A person who is signed in is asked on the page from which they went away, a stranger on the login page.
            Some(pages) if signed_in_now(&parts).await => {
                pages.back(next.clone()).next(next).went_well(response)
            }
            Some(pages) => pages.next(next).went_well(response),
            None => response,
        },
        Err((rejection, next)) => {
            let back = signed_in_now(&parts).await;
            refused(&auth, &parts, &rejection, next, back)
        }
    };
    response.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

type Finished = Result<(Response, Option<ReturnTo>), (Rejection, Option<ReturnTo>)>;

async fn finish(
    auth: &Portcullis,
    name: Name,
    parameters: &[(String, String)],
    client: &ClientInfo,
    parts: &Parts,
) -> Finished {
    let nowhere = |error: Rejection| (error, None);
    let provider = named(name).map_err(|error| nowhere(error.into()))?;
    let flow = auth.federation().replacing(&parts.extensions).await;
    let flow = flow.map_err(|error| nowhere(error.into()))?.with_cookie(&parts.headers);
    match flow.finish(&provider, parameters, client).await {
        Ok(finished) => Ok((answer(finished.outcome), finished.return_to)),
        Err(failure) => Err((failure.error.into(), failure.return_to)),
    }
}

fn answer(outcome: ProviderOutcome) -> Response {
    match outcome {
        ProviderOutcome::SignedIn(outcome) => signed_in(StatusCode::OK, outcome.into_issued()),
        ProviderOutcome::SteppedUp(issued) => signed_in(StatusCode::OK, *issued),
        ProviderOutcome::Asks(asked) => {
            let mut body = shown(&asked);
            body["result"] = "identity_pending".into();
            let mut response = route::json(&body);
            response.extensions_mut().insert(FormResult("identity_pending"));
            response
        }
    }
}

/// True if somebody is signed in.
async fn signed_in_now(parts: &Parts) -> bool {
    match RequestIdentity::of(&parts.extensions) {
        Ok(request_identity) => request_identity.full().await.is_ok(),
        Err(_) => false,
    }
}

/// Answers with a page that asks for the same address again.
fn once_more(query: &str) -> Response {
    let escaped = query
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;");
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Signing in</title>\
         <meta http-equiv=\"refresh\" content=\"0; url=?{escaped}&amp;{AGAIN}=1\">\
         <p><a href=\"?{escaped}&amp;{AGAIN}=1\">Continue</a></p></html>"
    );
    let mut response = Html(page).into_response();
    let headers = response.headers_mut();
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let policy = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

/// Takes the form of a provider that answers with one. Browsers send no cookie with it, so it becomes a redirect to the address
/// to which all other providers redirect.
async fn form_callback(parameters: Parameters) -> Result<Response, Rejection> {
    let all = parameters.into_pairs();
    let ours = all.iter().filter(|(name, _)| ["state", "code", "error", "iss"].contains(&&**name));
    let query = serde_urlencoded::to_string(ours.collect::<Vec<_>>());
    let refused = || FederationError::from(ProviderRefusal::Answer);
    let query = query.map_err(|_| refused())?;
    let location = HeaderValue::try_from(format!("?{query}")).map_err(|_| refused())?;
    let mut response = StatusCode::SEE_OTHER.into_response();
    response.headers_mut().insert(LOCATION, location);
    response.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}

async fn backchannel_logout(
    State(auth): State<Portcullis>,
    name: Name,
    mut parameters: Parameters,
) -> Result<Response, Rejection> {
    let provider = named(name)?;
    if parameters.has_repeated() {
        return Err(Rejection::new(InvalidLogoutToken(ProviderRefusal::Answer)));
    }
    let token = parameters.take("logout_token").unwrap_or_default();
    match auth.federation().backchannel_logout(&provider, &token).await {
        Ok(_) => Ok(StatusCode::OK.into_response()),
        Err(FederationError::NotAccepted(refusal)) => {
            Err(Rejection::new(InvalidLogoutToken(refusal)))
        }
        Err(error) => Err(error.into()),
    }
}

async fn list(
    State(auth): State<Portcullis>,
    owner: AccountOwner<owner::Factors>,
) -> Result<Response, Rejection> {
    let all = auth.federation().list(&owner).await?;
    let identities: Vec<Value> = all
        .iter()
        .map(|one| {
            json!({
                "id": one.id,
                "provider": one.provider,
                "email": one.email,
                "display_name": one.display_name,
                "created_at": one.created_at,
                "last_used_at": one.last_used_at,
            })
        })
        .collect();
    Ok(route::json(&json!({ "identities": identities })))
}

async fn unlink(
    State(auth): State<Portcullis>,
    owner: AccountOwner<owner::Factors>,
    client: ClientInfo,
    name: Name,
) -> Result<Response, Rejection> {
    let issued = auth.federation().unlink(&owner, &named(name)?, &client).await?;
    Ok(signed_in(StatusCode::OK, issued))
}

fn shown(asked: &PendingIdentity) -> Value {
    json!({
        "id": asked.id,
        "provider": asked.provider,
        "label": asked.label,
        "email": asked.email,
        "display_name": asked.display_name,
        "links": asked.links,
        "expires_at": asked.expires_at,
    })
}

async fn pending(
    State(auth): State<Portcullis>,
    headers: HeaderMap,
) -> Result<Response, Rejection> {
    let found = auth.federation().with_cookie(&headers).pending().await?;
    Ok(route::json(&json!({ "identity": found.as_ref().map(shown) })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PendingBody {
    id: String,
}

fn parsed(id: &str) -> Result<PendingIdentityId, FederationError> {
    id.parse().map_err(|_| FederationError::PendingEnded)
}

async fn link(
    State(auth): State<Portcullis>,
    owner: AccountOwner<owner::Factors>,
    client: ClientInfo,
    headers: HeaderMap,
    JsonOrForm(body): JsonOrForm<PendingBody>,
) -> Result<Response, Rejection> {
    let flow = auth.federation().with_cookie(&headers);
    let issued = flow.link(&owner, parsed(&body.id)?, &client).await?;
    Ok(signed_in(StatusCode::OK, issued))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegisterBody {
    id: String,
    username: Option<String>,
    #[serde(default)]
    profile: Value,
}

async fn register(
    State(auth): State<Portcullis>,
    client: ClientInfo,
    extensions: http::Extensions,
    headers: HeaderMap,
    JsonOrForm(body): JsonOrForm<RegisterBody>,
) -> Result<Response, Rejection> {
    let flow: Federation<'_> = auth.federation().replacing(&extensions).await?;
    let mut chosen = ProviderRegistration::default().profile(body.profile);
    if let Some(username) = body.username {
        chosen = chosen.username(username);
    }
    let outcome = flow.with_cookie(&headers).register(parsed(&body.id)?, chosen, &client).await?;
    Ok(signed_in_with(StatusCode::CREATED, outcome.into_issued(), json!({})))
}

async fn discard(
    State(auth): State<Portcullis>,
    headers: HeaderMap,
    JsonOrForm(body): JsonOrForm<PendingBody>,
) -> Result<Response, Rejection> {
    if let Ok(id) = parsed(&body.id) {
        auth.federation().with_cookie(&headers).discard(id).await?;
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}
