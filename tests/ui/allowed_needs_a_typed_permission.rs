//! `Allowed` asks for a type that names a permission.

struct PrintPages;

async fn handler(_: portcullis::Allowed<PrintPages>) {}

fn main() {
    fn extracts<T: axum::extract::FromRequestParts<()>>() {}
    extracts::<portcullis::Allowed<PrintPages>>();
    let _ = handler;
}
