//! `Allowed` needs a type that names a permission.

struct PrintPages;

fn extracts<T: axum::extract::FromRequestParts<()>>() {}

fn main() {
    extracts::<portcullis::Allowed<PrintPages>>();
}
