//! Discovery: what a source has, what it looks like, and what it will be called here.

pub(crate) mod drift;
mod legacy;
pub(crate) mod many;
mod names;
mod profile;
mod run;

pub(crate) use legacy::read as read_report;
#[cfg(test)]
pub(crate) use profile::text_profile;
pub(crate) use run::{Discovered, Look, discover, latest, latest_of, raw_table, register, rules_of};
