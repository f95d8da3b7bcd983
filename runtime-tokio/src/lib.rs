//! SimpleX machines on tokio.
