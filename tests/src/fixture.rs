use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result};

/// Writes a file, with the folders above it.
///
/// # Errors
/// As the file system says.
pub fn write(path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> Result<()> {
    let path = path.as_ref();
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

/// A CSV of patients `1..=rows`: `patient_id,nom,prenom,sexe,date_naissance`.
#[must_use]
pub fn patients_csv(rows: usize) -> String {
    let mut csv = String::from("patient_id,nom,prenom,sexe,date_naissance\n");
    for i in 1..=rows {
        let sex = if i % 2 == 0 { "F" } else { "M" };
        let written = writeln!(csv, "{i},Nom{i},Prenom{i},{sex},{:02}/{:02}/{}", i % 28 + 1, i % 12 + 1, 1930 + i % 90);
        debug_assert!(written.is_ok(), "writing to a String does not fail");
    }
    csv
}
