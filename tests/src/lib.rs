//! Runtime conformance, golden vectors, simulations and end-to-end tests of the SimpleX stack.

pub mod bench;
pub mod conformance;
pub mod vectors;

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
