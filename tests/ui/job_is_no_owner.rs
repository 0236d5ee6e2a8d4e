//! A job acts as an account, but it does not own the account.

use portcullis::{ClientInfo, JobIdentity, Portcullis};

async fn change_password(auth: Portcullis, job: JobIdentity) {
    let client = ClientInfo::default();
    let _ = auth.password_change().change(&job, None, "a new password", &client).await;
}

fn sessions(auth: &Portcullis, job: &JobIdentity) {
    auth.own_sessions(job);
}

fn main() {}
