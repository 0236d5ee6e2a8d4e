//! A visitor has no account.

fn handler(visitor: portcullis::AnonymousSession) {
    let _ = visitor.account();
}

fn main() {}
