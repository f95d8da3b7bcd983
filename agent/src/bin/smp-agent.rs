//! smp-agent
fn main() {}
