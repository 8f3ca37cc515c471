//! What the demo registers: sources, the tables to tell of, mappings and code maps.

use anyhow::Context;
use mavis_connectors::SourceSpec;
use mavis_types::SourceName;
use serde_json::{Value, json};

use super::samples::Samples;

/// A sample source with everything that brings it to FHIR.
#[derive(Debug)]
pub(super) struct DemoSource {
    pub(super) spec: SourceSpec,
    /// Name and text of each mapping.
    pub(super) mappings: &'static [(&'static str, &'static str)],
    /// Table in the lake and the resource type that its rows become.
    pub(super) tables: &'static [(&'static str, &'static str)],
}

/// Name and CSV text of each code map that is not shipped with every server.
pub(super) const CODE_MAPS: [(&str, &str); 1] = [("labs-loinc", include_str!("../../demo/code_maps/labs-loinc.csv"))];

macro_rules! mapping {
    ($name:literal) => {
        ($name, include_str!(concat!("../../demo/mappings/", $name, ".toml")))
    };
}

pub(super) fn sources(samples: &Samples) -> anyhow::Result<Vec<DemoSource>> {
    let rule = json!({"name": "discharge after admission", "rule": "date_sortie >= date_entree", "action": "warn"});
    Ok(vec![
        DemoSource {
            spec: spec(
                "hms",
                "sqlite",
                json!({
                    "path": samples.hms,
                    "clean": {"tables": {"acs_hospitalization": {"checks": [rule]}}}
                }),
            )?,
            mappings: &[
                mapping!("hms_organization"),
                mapping!("hms_practitioner"),
                mapping!("hms_patient"),
                mapping!("hms_encounter"),
            ],
            tables: &[
                ("hms_patient", "Patient"),
                ("acs_hospitalization", "Encounter"),
                ("hms_staff", "Practitioner"),
                ("hms_service", "Organization"),
            ],
        },
        DemoSource {
            spec: spec("clinique", "files", json!({"path": samples.clinique, "table": "patients"}))?,
            mappings: &[mapping!("clinique_patient")],
            tables: &[("patients", "Patient")],
        },
        DemoSource {
            spec: spec(
                "labs",
                "files",
                json!({
                    "path": samples.labs,
                    "table": "labs",
                    // `NA` is sodium here, not "no value".
                    "clean": {"tables": {"labs": {"columns": {"code_analyse": {"null_tokens": []}}}}}
                }),
            )?,
            mappings: &[mapping!("labs_observation")],
            tables: &[("labs", "Observation")],
        },
        DemoSource {
            spec: spec(
                "blood_pressure",
                "fhir_files",
                json!({
                    "path": samples.blood_pressure,
                    // Every message has the same id: these tell them apart.
                    "keys": {"Observation": ["subject.reference", "code.coding[0].code", "effectiveDateTime"]}
                }),
            )?,
            mappings: &[],
            tables: &[("observation", "Observation")],
        },
    ])
}

fn spec(name: &str, kind: &str, params: Value) -> anyhow::Result<SourceSpec> {
    let name = SourceName::new(name).context("a sample source has no name")?;
    Ok(SourceSpec { name, kind: kind.to_owned(), params, authoritative: false })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use mavis_fhir::mapping::Mapping;

    use super::*;

    #[test]
    fn every_shipped_mapping_checks_out() {
        let path = PathBuf::from("x");
        let samples =
            Samples { hms: path.clone(), clinique: path.clone(), labs: path.clone(), blood_pressure: path.clone() };
        for source in sources(&samples).unwrap() {
            for (name, text) in source.mappings {
                let mapping = Mapping::parse(text).unwrap_or_else(|problems| panic!("{name}: {problems:?}"));
                assert_eq!(mapping.check(), [], "{name}");
            }
        }
    }
}
