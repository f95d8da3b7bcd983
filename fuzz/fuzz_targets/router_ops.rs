//! [`simplex_sans_io::sim::fuzz::ROUTER_OPS`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| simplex_sans_io::sim::fuzz::ROUTER_OPS.run(data));
