//! [`simplex_sans_io::sim::fuzz::LINK_DATA`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| simplex_sans_io::sim::fuzz::LINK_DATA.run(data));
