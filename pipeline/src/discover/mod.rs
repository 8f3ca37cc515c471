//! Discovery: what a source has, what it looks like, and what it will be called here.

mod legacy;
mod names;
mod profile;
mod run;

pub(crate) use legacy::read as read_report;
pub(crate) use names::Names;
#[cfg(test)]
pub(crate) use profile::text_profile;
pub(crate) use run::{discover, latest, register, rules_of};
