//! [`simplex_sans_io::sim::fuzz::SMP_COMMAND`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| simplex_sans_io::sim::fuzz::SMP_COMMAND.run(data));
