use rand::{Rng, rngs::StdRng};

use super::people::{day, mixed_date, pick};

const RESULTS: u32 = 6000;

/// The laboratory's own code, unit, and the values that one sees, in tenths.
const TESTS: [(&str, &str, u32, u32); 8] = [
    ("GLY", "mmol/L", 35, 140),
    ("HB", "g/dL", 70, 180),
    ("CREA", "umol/L", 400, 2500),
    ("NA", "mmol/L", 1280, 1500),
    ("K", "mmol/L", 28, 60),
    ("CRP", "mg/L", 5, 1800),
    ("CHOL", "mmol/L", 25, 85),
    ("TSH", "mU/L", 2, 90),
];

/// A laboratory's export: semicolons, decimal commas, a few results that are no numbers, some lines twice.
pub(super) fn csv(rng: &mut StdRng) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::WriterBuilder::new().delimiter(b';').from_writer(Vec::new());
    writer.write_record(["numero_analyse", "ipp", "code_analyse", "valeur", "unite", "date_prelevement", "statut"])?;
    for number in 1..=RESULTS {
        let (code, unit, least, most) = pick(rng, &TESTS, TESTS[0]);
        let tenths = rng.random_range(least..most);
        let value = match rng.random_range(0..200) {
            0 => "hémolysé".to_owned(),
            1..=3 => "N/A".to_owned(),
            _ => format!("{},{}", tenths / 10, tenths % 10),
        };
        let taken = day(rng, 2022, 2024);
        let patient = rng.random_range(1..=5000_i64);
        let record = [
            format!("A{number:07}"),
            format!("IPP{:07}", 1_000_000 + patient * 37 % 9_000_000),
            if rng.random_bool(0.1) { code.to_lowercase() } else { code.to_owned() },
            value,
            unit.to_owned(),
            mixed_date(rng, taken),
            pick(rng, &["validé", "validé", "validé", "provisoire", " validé"], "validé").to_owned(),
        ];
        writer.write_record(&record)?;
        if rng.random_bool(0.005) {
            writer.write_record(&record)?;
        }
    }
    Ok(writer.into_inner()?)
}
