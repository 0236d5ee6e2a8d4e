//! Reads arbitrary attestation objects of passkeys.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| portcullis_fuzz::attestation(input));
