//! A sign-in that must set a new password is not a session.

fn needs_a_session(_: portcullis::Session) {}

fn handler(must_change: portcullis::PasswordChangeSession) {
    needs_a_session(must_change);
}

fn main() {}
