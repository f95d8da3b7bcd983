//! [`simplex_sans_io::sim::fuzz::SMP_POOL_OPS`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| simplex_sans_io::sim::fuzz::SMP_POOL_OPS.run(data));
