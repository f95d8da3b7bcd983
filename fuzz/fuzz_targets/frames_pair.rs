//! [`simplex_sans_io::sim::fuzz::FRAMES_PAIR`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| simplex_sans_io::sim::fuzz::FRAMES_PAIR.run(data));
