//! Examples; see the files under `examples/`.
