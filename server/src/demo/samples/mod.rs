//! The sample sources, made by a seeded generator: the same files on every machine, with the dirt that real ones have.
//! Nobody in them exists.

mod clinique;
mod hms;
mod labs;
mod people;
mod pressure;
mod workbook;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use rand::{SeedableRng, rngs::StdRng};

/// Every generator starts from this and its own number.
const SEED: u64 = 0x4d61_7669_7300;

/// Where the four sample files are.
#[derive(Debug, Clone)]
pub(crate) struct Samples {
    pub(crate) hms: PathBuf,
    pub(crate) clinique: PathBuf,
    pub(crate) labs: PathBuf,
    pub(crate) blood_pressure: PathBuf,
}

/// Writes the files that are not there yet. A file is there whole or not at all.
///
/// # Errors
/// When the folder cannot be written.
pub(crate) async fn write(folder: &Path) -> anyhow::Result<Samples> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let samples = Samples {
        hms: folder.join("hms.sqlite"),
        clinique: folder.join("clinique.xlsx"),
        labs: folder.join("labs.csv"),
        blood_pressure: folder.join("blood_pressure.ndjson"),
    };
    if !samples.hms.exists() {
        let part = part(&samples.hms);
        hms::write(&part, &mut rng(1)).await.with_context(|| format!("cannot write {}", samples.hms.display()))?;
        fs::rename(&part, &samples.hms)?;
    }
    once(&samples.clinique, || clinique::workbook(&mut rng(2)))?;
    once(&samples.labs, || labs::csv(&mut rng(3)))?;
    once(&samples.blood_pressure, || pressure::ndjson(&mut rng(4)))?;
    Ok(samples)
}

fn rng(number: u64) -> StdRng {
    StdRng::seed_from_u64(SEED + number)
}

fn part(path: &Path) -> PathBuf {
    path.with_extension("part")
}

fn once(path: &Path, content: impl FnOnce() -> anyhow::Result<Vec<u8>>) -> anyhow::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let part = part(path);
    fs::write(&part, content()?)
        .and_then(|()| fs::rename(&part, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use calamine::{Reader, Xlsx};

    use super::*;

    #[tokio::test]
    async fn the_samples_are_the_same_each_time_and_as_large_as_promised() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (a, b) = (write(one.path()).await.unwrap(), write(two.path()).await.unwrap());
        for (a, b) in [(&a.labs, &b.labs), (&a.blood_pressure, &b.blood_pressure), (&a.clinique, &b.clinique)] {
            assert!(fs::read(a).unwrap() == fs::read(b).unwrap(), "{} differs", a.display());
        }
        let lines = fs::read_to_string(&a.blood_pressure).unwrap();
        assert_eq!(lines.lines().count(), 24_000);
        for line in lines.lines().step_by(997) {
            let observation: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(observation["id"], "blood-pressure");
            assert_eq!(observation["code"]["coding"][0]["code"], "85354-9");
            let systolic = observation["component"][0]["valueQuantity"]["value"].as_i64().unwrap();
            let diastolic = observation["component"][1]["valueQuantity"]["value"].as_i64().unwrap();
            assert!((70..=190).contains(&systolic) && (60..=130).contains(&diastolic));
        }
        let database = sqlx::SqlitePool::connect(&format!("sqlite://{}", a.hms.display())).await.unwrap();
        for (table, rows) in [("hms_patient", 5000), ("acs_hospitalization", 12_000)] {
            let statement = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
            assert_eq!(sqlx::query_scalar::<_, i64>(statement).fetch_one(&database).await.unwrap(), rows);
        }
        let mut workbook: Xlsx<_> = calamine::open_workbook(&a.clinique).unwrap();
        let sheet = workbook.worksheet_range("Patients").unwrap();
        // A title over merged cells, an empty row, the header, and 800 patients with some of them twice.
        assert!(sheet.height() > 803, "{}", sheet.height());
    }
}
