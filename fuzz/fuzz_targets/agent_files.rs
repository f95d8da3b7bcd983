//! [`simplex_sans_io::sim::fuzz::AGENT_FILES`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| simplex_sans_io::sim::fuzz::AGENT_FILES.run(data));
