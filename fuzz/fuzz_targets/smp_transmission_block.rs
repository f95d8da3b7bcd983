//! [`simplex_sans_io::sim::fuzz::SMP_TRANSMISSION_BLOCK`].
#![no_main]
libfuzzer_sys::fuzz_target!(
    |data: &[u8]| simplex_sans_io::sim::fuzz::SMP_TRANSMISSION_BLOCK.run(data)
);
