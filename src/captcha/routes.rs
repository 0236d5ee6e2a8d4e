//! `POST /captcha`, `GET /captcha/{id}/image`, `GET /captcha/{id}/audio`.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use http::Method;
use serde::Deserialize;

use crate::base::client::ClientInfo;
use crate::base::problem::Rejection;
use crate::guard::description::RouteBody;
use crate::handle::Portcullis;
use crate::route::{self, JsonOrForm, mount, row};

/// The routes of captchas.
pub fn routes<S: Clone + Send + Sync + 'static>(auth: &Portcullis) -> Router<S> {
    mount(
        auth,
        "captcha",
        [
            row(Method::POST, "/captcha", offer).takes(RouteBody::JsonOrForm).refuses(&[
                "captcha_unavailable",
                "invalid_action",
                "misconfigured",
            ]),
            #[cfg(feature = "captcha")]
            row(Method::GET, "/captcha/{id}/image", pictures::image)
                .refuses(&["captcha_not_found"]),
            #[cfg(feature = "captcha")]
            row(Method::GET, "/captcha/{id}/audio", pictures::audio)
                .refuses(&["captcha_not_found"]),
        ],
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfferBody {
    action: String,
}

async fn offer(
    State(auth): State<Portcullis>,
    client: ClientInfo,
    JsonOrForm(body): JsonOrForm<OfferBody>,
) -> Result<Response, Rejection> {
    let offer = auth.captchas().offer(&body.action, &client).await?;
    Ok(route::json(&offer.to_json()))
}

#[cfg(feature = "captcha")]
mod pictures {
    use axum::extract::rejection::PathRejection;
    use axum::extract::{Path, State};
    use axum::response::{IntoResponse, Response};
    use http::header::CONTENT_TYPE;

    use crate::base::problem::Rejection;
    use crate::handle::Portcullis;

    pub(super) async fn image(
        State(auth): State<Portcullis>,
        id: Result<Path<String>, PathRejection>,
    ) -> Result<Response, Rejection> {
        let picture = auth.captchas().image(&text(id)).await?;
        Ok(([(CONTENT_TYPE, "image/png")], picture).into_response())
    }

    pub(super) async fn audio(
        State(auth): State<Portcullis>,
        id: Result<Path<String>, PathRejection>,
    ) -> Result<Response, Rejection> {
        let sound = auth.captchas().audio(&text(id)).await?;
        Ok(([(CONTENT_TYPE, "audio/wav")], sound).into_response())
    }

    /// What is not even text is no captcha's id.
    fn text(id: Result<Path<String>, PathRejection>) -> String {
        id.map(|Path(id)| id).unwrap_or_default()
    }
}
