//! Examples; see the programs in `axum/`, `hyper/` and `once/`.
