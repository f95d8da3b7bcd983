//! [`simplex_sans_io::sim::fuzz::STORELOG`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| simplex_sans_io::sim::fuzz::STORELOG.run(data));
