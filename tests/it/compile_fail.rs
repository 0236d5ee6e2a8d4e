//! Code that must not compile, and the message of the compiler.

#[test]
fn a_wrong_handler_does_not_compile_and_the_message_says_why() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
