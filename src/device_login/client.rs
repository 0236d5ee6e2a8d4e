//! The configured clients.

use crate::config::DeviceClient;
use crate::context::Context;

/// Returns the client with this id.
pub(super) fn client_of<'c>(context: &'c Context, id: &str) -> Option<&'c DeviceClient> {
    context.config.device_login.clients.iter().find(|client| client.id == id)
}
