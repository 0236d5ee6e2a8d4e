//! A sign-in that must set up a second factor is not a session.

fn needs_a_session(_: portcullis::Session) {}

fn handler(enrolling: portcullis::EnrolmentSession) {
    needs_a_session(enrolling);
}

fn main() {}
