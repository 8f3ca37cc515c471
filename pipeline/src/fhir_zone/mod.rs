//! How resources get into the FHIR zone, whoever made them.
//!
//! History is the truth: every version of every resource, deletions as tombstones, in a table that only grows. The current
//! table is derived from it. A unit therefore
//!
//! 1. reads what history knows of each id ([`state`]): its last version, its content's hash, whose it is;
//! 2. turns resources into versions on all cores ([`encode`]): content that is known makes none;
//! 3. commits history, once;
//! 4. brings the current table up to it ([`current`]), from the columns made in step 2 where nobody else wrote in between,
//!    else by reading the new versions back.
//!
//! A crash between 3 and 4 leaves the current table behind; the next unit, or the next start, catches up.

pub(crate) mod current;
pub(crate) mod encode;
pub(crate) mod land;
pub(crate) mod publish;
pub(crate) mod staging;
pub(crate) mod state;
pub(crate) mod target;
pub(crate) mod versions;

pub(crate) use current::advance;
pub(crate) use encode::{Encoded, Encoder, Incoming, Shared};
pub(crate) use land::Landing;
pub(crate) use publish::Touched;
pub(crate) use staging::Staging;
pub(crate) use state::State;
pub(crate) use target::Target;
