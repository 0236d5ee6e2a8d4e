//! A secret has no `Display`.

fn main() {
    println!("{}", portcullis::Secret::generate());
}
