//! [`simplex_sans_io::sim::fuzz::RATCHET_ACTIONS`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| simplex_sans_io::sim::fuzz::RATCHET_ACTIONS.run(data));
