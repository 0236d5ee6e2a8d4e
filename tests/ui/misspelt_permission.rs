//! A permission that was not declared has no type.

portcullis::permissions! { printer: Query, Print; }

async fn handler(_: portcullis::Allowed<printer::Prnt>) {}

fn main() {
    let _ = handler;
}
