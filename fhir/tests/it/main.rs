//! The FHIR crate on whole bundles, generated resources, and the official test suites.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod any_resource;
mod fhirpath_oracle;
mod generate;
mod sql_on_fhir;
mod synthea;
mod views_synthea;
