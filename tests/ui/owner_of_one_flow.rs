//! Who may change the address may not change the password for that.

use portcullis::identity::owner::Contact;
use portcullis::{AccountOwner, ClientInfo, Portcullis};

async fn handler(auth: Portcullis, owner: AccountOwner<Contact>) {
    let client = ClientInfo::default();
    let _ = auth.password_change().change(&owner, None, "a new password", &client).await;
}

fn main() {}
