//! An identity may be limited, so it is not the owner of its account.

use portcullis::{ClientInfo, Identity, Portcullis};

async fn handler(auth: Portcullis, identity: Identity) {
    let client = ClientInfo::default();
    let _ = auth.password_change().change(&identity, None, "a new password", &client).await;
}

fn main() {}
