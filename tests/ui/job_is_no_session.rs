//! A job has no session, so nothing that needs one accepts it.

use portcullis::{Identity, JobIdentity, Portcullis, Session};

fn needs_a_session(_: &Session) {}

fn needs_an_identity(_: &Identity) {}

fn handler(auth: Portcullis, job: JobIdentity) {
    needs_a_session(&job);
    needs_an_identity(&job);
    drop(auth.recheck(&job));
}

fn main() {}
