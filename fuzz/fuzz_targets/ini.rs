//! [`simplex_routers::fuzz::INI`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| simplex_routers::fuzz::INI.run(data));
