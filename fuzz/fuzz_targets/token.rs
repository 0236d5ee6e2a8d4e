//! Reads arbitrary bytes as a session token.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use portcullis_fuzz::{World, token};

fuzz_target!(|input: &[u8]| {
    static WORLD: OnceLock<(tokio::runtime::Runtime, World)> = OnceLock::new();
    let (_, world) = WORLD.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let world = runtime.block_on(World::new());
        (runtime, world)
    });
    token(world, input);
    // Also reads the valid token with one changed byte. The input gives the position and the new
    // byte.
    if let [high, low, byte, ..] = *input {
        let mut changed = world.token.clone().into_bytes();
        let at = usize::from(u16::from_be_bytes([high, low])) % changed.len();
        changed[at] = byte;
        token(world, &changed);
    }
});
