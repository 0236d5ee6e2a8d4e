//! A job has no session.

fn needs_a_session(_: portcullis::Session) {}

fn handler(job: portcullis::JobIdentity) {
    needs_a_session(job);
}

fn main() {}
