//! An owner who was checked for a change of the address may not change the password with it.

use portcullis::identity::owner::Contact;
use portcullis::{AccountOwner, ClientInfo, Portcullis};

async fn handler(auth: Portcullis, owner: AccountOwner<Contact>) {
    let client = ClientInfo::default();
    let _ = auth.password_change().change(&owner, None, "a new password", &client).await;
}

fn main() {}
