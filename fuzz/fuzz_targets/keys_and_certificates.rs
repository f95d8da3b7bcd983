//! [`simplex_sans_io::sim::fuzz::KEYS_AND_CERTIFICATES`].
#![no_main]
libfuzzer_sys::fuzz_target!(
    |data: &[u8]| simplex_sans_io::sim::fuzz::KEYS_AND_CERTIFICATES.run(data)
);
