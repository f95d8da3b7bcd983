//! Simulation: what machines run in when nothing is real.

pub mod identity;
pub mod smp;
