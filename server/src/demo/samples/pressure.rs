use std::io::Write;

use chrono::{Days, NaiveDate};
use rand::{Rng, rngs::StdRng};
use serde_json::json;

const PATIENTS: u32 = 200;
const DAYS: u64 = 30;
const HOURS: [u32; 4] = [7, 12, 18, 22];

/// What a stream of home monitors sends: R4 Observations of blood pressure (LOINC 85354-9), all with the same id.
pub(super) fn ndjson(rng: &mut StdRng) -> anyhow::Result<Vec<u8>> {
    let mut out = Vec::new();
    let first = NaiveDate::from_ymd_opt(2024, 1, 1).unwrap_or_default();
    for patient in 1..=PATIENTS {
        // Everybody has a level of their own, around which the readings lie.
        let level = rng.random_range(95..165);
        for day in 0..DAYS {
            let date = first.checked_add_days(Days::new(day)).unwrap_or(first);
            for hour in HOURS {
                let minute = rng.random_range(0..60);
                let systolic = (level + rng.random_range(-25..=25)).clamp(70, 190);
                let diastolic = (systolic * 62 / 100 + rng.random_range(-8..=14)).clamp(60, 130);
                let observation = json!({
                    "resourceType": "Observation",
                    "id": "blood-pressure",
                    "status": "final",
                    "category": [{"coding": [{
                        "system": "http://terminology.hl7.org/CodeSystem/observation-category",
                        "code": "vital-signs"
                    }]}],
                    "code": {"coding": [coding("85354-9", "Blood pressure panel with all children optional")]},
                    "subject": {"reference": format!("Patient/monitor-{patient:03}")},
                    "effectiveDateTime": format!("{date}T{hour:02}:{minute:02}:00+01:00"),
                    "component": [
                        component("8480-6", "Systolic blood pressure", systolic),
                        component("8462-4", "Diastolic blood pressure", diastolic),
                    ]
                });
                serde_json::to_writer(&mut out, &observation)?;
                out.write_all(b"\n")?;
            }
        }
    }
    Ok(out)
}

fn coding(code: &str, display: &str) -> serde_json::Value {
    json!({"system": "http://loinc.org", "code": code, "display": display})
}

fn component(code: &str, display: &str, value: i32) -> serde_json::Value {
    json!({
        "code": {"coding": [coding(code, display)]},
        "valueQuantity": {
            "value": value,
            "unit": "mmHg",
            "system": "http://unitsofmeasure.org",
            "code": "mm[Hg]"
        }
    })
}
