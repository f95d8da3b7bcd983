//! async-std does what every runtime must do.

simplex_tests::conformance!(simplex_runtime_async_std::AsyncStd);
