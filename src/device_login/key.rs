//! The key that a device proves.

use http::request::Parts;

use super::entity::Model;
use super::error::DeviceTokenError;
use crate::base::jwk_thumbprint::JwkThumbprint;
use crate::base::transaction::Txn;
use crate::config::DeviceClient;
use crate::dpop::{
    self, DpopError, DpopRefusal, Nonces, ProvedKey, ShownProof, store as dpop_store,
};
use crate::handle::Portcullis;
use crate::identity::credential::{prefix_of, uri_before_routers};

/// Returns the key that a request of a device proves, if it proves one.
pub(super) fn proved_in(
    auth: &Portcullis,
    parts: &Parts,
) -> Result<Option<ProvedKey>, DeviceTokenError> {
    let uri = uri_before_routers(&parts.uri, &parts.extensions);
    let prefix = prefix_of(auth, &parts.headers, &parts.extensions);
    let shown = ShownProof::of(&parts.method, uri, prefix, &parts.headers);
    if shown.is_missing() {
        return Ok(None);
    }
    shown.check(auth.context(), None).map(Some).map_err(|reason| refused(auth, reason))
}

pub(super) fn refused(auth: &Portcullis, reason: DpopRefusal) -> DeviceTokenError {
    let nonce = auth.per_instance::<Nonces>().make(auth.context().now());
    DpopError { reason, nonce }.into()
}

/// Returns the key to which a session of this request is bound: the one that the device has named before, or
/// else the one that it proves now.
pub(super) fn of_request(
    auth: &Portcullis,
    asking: &DeviceClient,
    row: &Model,
    proved: Option<&ProvedKey>,
) -> Result<Option<JwkThumbprint>, DeviceTokenError> {
    let proved = proved.map(|proved| proved.key);
    let refused = |reason| Err(refused(auth, dpop::refused(reason)));
    // A text that cannot be read is the key of nobody.
    match (row.bound_to.as_deref().map(str::parse), proved) {
        (Some(_), None) => refused(DpopRefusal::Missing),
        (Some(named), Some(proved)) if named != Ok(proved) => refused(DpopRefusal::WrongKey),
        (None, None) if asking.key_bound => refused(DpopRefusal::Missing),
        (_, proved) => Ok(proved),
    }
}

/// Uses the proof of a device up.
pub(super) async fn spend(
    auth: &Portcullis,
    txn: &Txn<'_>,
    proved: Option<&ProvedKey>,
) -> Result<(), DeviceTokenError> {
    match proved {
        Some(proved) if !dpop_store::spend(txn, proved).await? => {
            Err(refused(auth, dpop::refused(DpopRefusal::Replayed)))
        }
        _ => Ok(()),
    }
}
