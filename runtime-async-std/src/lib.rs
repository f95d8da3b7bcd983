//! SimpleX machines on async-std.
