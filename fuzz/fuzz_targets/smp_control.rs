//! [`simplex_routers::fuzz::SMP_CONTROL`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| simplex_routers::fuzz::SMP_CONTROL.run(data));
