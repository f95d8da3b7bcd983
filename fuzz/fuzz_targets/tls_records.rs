//! [`simplex_sans_io::sim::fuzz::TLS_RECORDS`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| simplex_sans_io::sim::fuzz::TLS_RECORDS.run(data));
