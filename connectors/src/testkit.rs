//! The contract that every connector passes; its tests call [`assert_contract`] with a source they know.
