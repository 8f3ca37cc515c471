//! How resources get into the FHIR zone, whoever made them.
//!
//! History is the truth: every version of every resource, deletions as tombstones, in a table that only grows. The current
//! table is derived from it. A unit therefore
//!
//! 1. reads what history knows of each id ([`state`]): its last version, its content's hash, whose it is;
//! 2. turns resources into versions on all cores ([`encode`]): content that is known makes none;
//! 3. stages them, as versions and as columns of the current table, side by side ([`land`]);
//! 4. commits history, once, and then the current table ([`current`]).
//!
//! A crash within 4 leaves the current table behind; the next unit, or the next start, catches up by reading the new
//! versions back.

pub(crate) mod current;
pub(crate) mod encode;
pub(crate) mod land;
pub(crate) mod publish;
pub(crate) mod state;
pub(crate) mod target;
pub(crate) mod versions;

pub(crate) use current::{Current, advance};
pub(crate) use encode::{Encoded, Encoder, Incoming, Shared};
pub(crate) use land::{Closes, Landing};
pub(crate) use publish::Touched;
pub(crate) use state::State;
pub(crate) use target::Target;
