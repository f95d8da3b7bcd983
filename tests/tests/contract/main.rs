//! The rules of `simplex_sans_io::machine` that no wrapper can check while a machine runs.
//!
//! | rule | where it is checked |
//! |---|---|
//! | 1 drained, and nothing waits for a timer to surface | `sim::Checked` around every machine on a stream; `fuzz_corpus.rs` |
//! | 2 a deadline after a timeout is later | the same; of the pool in its own fuzz body |
//! | 3 an error is the end, and not the peer's to cause in a session | the same |
//! | 4 the same inputs, the same actions | `fuzz_corpus.rs` runs everything twice |
//! | 5 nothing grows without limit | [`growth`], and the limits that fuzz bodies assert |
//! | 6 secrets do not print | [`secrets`] |
//! | 7 a graph and a walk through it | [`documentation`] |

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a result that is missing fails the test"
)]

mod documentation;
mod growth;
mod secrets;
