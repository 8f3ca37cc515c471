//! Mappings as they are stored, checked and made ready to run.

pub(crate) mod api;
pub(crate) mod code_map;
pub(crate) mod code_maps;
pub(crate) mod plan;
pub(crate) mod rule;
mod shipped;

pub(crate) use plan::Planned;
pub(crate) use rule::{Rule, rules_of_source};
