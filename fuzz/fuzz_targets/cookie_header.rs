//! Reads the session cookie from arbitrary `Cookie` headers.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use portcullis_fuzz::{World, cookie_header};

fuzz_target!(|input: &[u8]| {
    static WORLD: OnceLock<(tokio::runtime::Runtime, World)> = OnceLock::new();
    let (_, world) = WORLD.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let world = runtime.block_on(World::new());
        (runtime, world)
    });
    cookie_header(world, input);
});
