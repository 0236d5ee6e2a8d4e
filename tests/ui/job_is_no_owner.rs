//! A job acts as an account, but it does not own the account.

use portcullis::{ClientInfo, JobIdentity, Portcullis};

async fn handler(auth: Portcullis, job: JobIdentity) {
    let client = ClientInfo::default();
    let _ = auth.password_change().change(&job, None, "a new password", &client).await;
}

fn main() {}
