//! smol does what every runtime must do.

simplex_tests::conformance!(simplex_runtime_smol::Smol);
