//! [`simplex_sans_io::sim::fuzz::SOCKS`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| simplex_sans_io::sim::fuzz::SOCKS.run(data));
