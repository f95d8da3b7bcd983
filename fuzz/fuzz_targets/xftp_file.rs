//! [`simplex_sans_io::sim::fuzz::XFTP_FILE`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| simplex_sans_io::sim::fuzz::XFTP_FILE.run(data));
