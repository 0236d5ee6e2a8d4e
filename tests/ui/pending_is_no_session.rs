//! A sign-in that waits for its second factor is not a session.

fn needs_a_session(_: portcullis::Session) {}

fn handler(pending: portcullis::PendingSession) {
    needs_a_session(pending);
}

fn main() {}
