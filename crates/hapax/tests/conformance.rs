//! The suite on the memory store, and on the stores that it must reject.
#![cfg(feature = "conformance")]

mod memory {
    hapax::store_conformance!(hapax::conformance::Memory);
}

#[test]
fn the_macro_names_every_case() {
    let tests = hapax::__conformance_cases! { __conformance_names () };
    assert_eq!(tests.as_slice(), hapax::conformance::names());
}
