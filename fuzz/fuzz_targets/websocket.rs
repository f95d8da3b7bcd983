//! [`simplex_sans_io::sim::fuzz::WEBSOCKET`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| simplex_sans_io::sim::fuzz::WEBSOCKET.run(data));
