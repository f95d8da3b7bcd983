//! SimpleX agent.

pub mod xftp;
