//! [`simplex_sans_io::sim::fuzz::HTTP2_OPS`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| simplex_sans_io::sim::fuzz::HTTP2_OPS.run(data));
