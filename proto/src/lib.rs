//! The wire: the gRPC contract `mavis.v1` and its generated types.
//!
//! The `.proto` files beside this crate are the contract and its documentation; this crate only compiles them. Nothing
//! below the doors knows it: the server turns these messages into the words of the crates that do the work.

/// The contract's first version. A field is never renumbered and never changes its meaning; new ones are added.
#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    missing_debug_implementations,
    unreachable_pub,
    reason = "generated code follows the generator's rules"
)]
pub mod v1 {
    tonic::include_proto!("mavis.v1");

    /// The contract's descriptors with their comments, for the reflection service.
    pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("mavis.v1");
}
