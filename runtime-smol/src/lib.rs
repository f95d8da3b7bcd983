//! SimpleX machines on smol.
