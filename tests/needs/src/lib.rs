//! An attribute for the tests of this workspace only.
//!
//! The test harness decides before a test runs whether the test is ignored. If a test notices only
//! later that its database is missing, it can do nothing but pass. Then a suite without databases
//! looks as if it had proved everything. So this attribute decides when the test is compiled. Cargo
//! compiles the test again when a variable appears, disappears or changes.

use proc_macro::{Delimiter, Group, Ident, Literal, Punct, Spacing, Span, TokenStream, TokenTree};

/// Marks the test as ignored, unless each of these environment variables has a value:
///
/// ```ignore
/// #[needs("PORTCULLIS_TEST_POSTGRES_URL")]
/// #[tokio::test]
/// async fn a_test_with_a_server() { .. }
/// ```
#[proc_macro_attribute]
pub fn needs(variables: TokenStream, test: TokenStream) -> TokenStream {
    let mut expanded = TokenStream::new();
    let mut missing = Vec::new();
    for token in variables {
        let TokenTree::Literal(variable) = token else { continue };
        expanded.extend(tracked(&variable));
        let name = variable.to_string();
        let name = name.trim_matches('"');
        if !is_set(name) {
            missing.push(name.to_owned());
        }
    }
    if !missing.is_empty() {
        expanded.extend(ignored(&format!("not set: {}", missing.join(", "))));
    }
    expanded.extend(test);
    expanded
}

#[expect(clippy::disallowed_methods, reason = "the tests are told where the servers are")]
fn is_set(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|value| !value.is_empty())
}

/// Returns `const _: Option<&str> = option_env!("..");`. With it the compiler tells cargo on which
/// variable the test depends.
fn tracked(variable: &Literal) -> TokenStream {
    let source =
        format!("const _: ::core::option::Option<&str> = ::core::option_env!({variable});");
    source.parse().expect("an item")
}

/// Returns `#[ignore = ".."]`.
fn ignored(reason: &str) -> TokenStream {
    let attribute: TokenStream = [
        TokenTree::Ident(Ident::new("ignore", Span::call_site())),
        TokenTree::Punct(Punct::new('=', Spacing::Alone)),
        TokenTree::Literal(Literal::string(reason)),
    ]
    .into_iter()
    .collect();
    [
        TokenTree::Punct(Punct::new('#', Spacing::Alone)),
        TokenTree::Group(Group::new(Delimiter::Bracket, attribute)),
    ]
    .into_iter()
    .collect()
}
