//! tokio does what every runtime must do, also while its time is paused.

mod sockets {
    simplex_tests::conformance!(simplex_runtime_tokio::Tokio);
}

mod paused {
    simplex_tests::conformance!(simplex_tests::conformance::in_memory::InMemory);
}
