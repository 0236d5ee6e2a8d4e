//! What must not compile, and how the compiler says so.

#[test]
fn a_wrong_handler_does_not_compile_and_the_message_says_why() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
