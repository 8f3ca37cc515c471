//! What of this machine no source reads, whoever declares it.

use std::path::PathBuf;

use mavis_connectors::{Closed, Secrets};

use crate::{config::Config, data_dir::DataDir};

/// The folder in the data folder that the demo writes its sources into.
pub(crate) const SAMPLES: &str = "samples";

/// The data folder (but for the demo's sources), the lake and the catalog where they lie elsewhere, keys and mounted secrets,
/// and what the system tells of processes: their environment has secrets.
pub(crate) fn to_sources(config: &Config, data: &DataDir, secrets: &Secrets) -> Closed {
    let mut places = vec![data.root().to_owned(), PathBuf::from("/proc")];
    if data.lake().scheme() == "file" {
        places.extend(data.lake().to_file_path().ok());
    }
    if let Some(catalog) = sqlite_file(data.catalog().expose()) {
        // Beside it is what was not written into it yet.
        places.extend(["", "-wal", "-shm", "-journal"].map(|ending| PathBuf::from(format!("{catalog}{ending}"))));
    }
    let vault = &config.secrets.vault;
    places.extend([&config.tls.key, &vault.token_file, &vault.secret_id_file].into_iter().flatten().cloned());
    places.extend(secrets.places());
    Closed::new(places).except(data.root().join(SAMPLES))
}

/// The file of a catalog that is one.
fn sqlite_file(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("sqlite:")?;
    let path = rest.strip_prefix("//").unwrap_or(rest);
    path.split('?').next().filter(|path| !path.is_empty())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("sqlite:///srv/catalog.sqlite", Some("/srv/catalog.sqlite"))]
    #[case("sqlite:/srv/catalog.sqlite?mode=rwc", Some("/srv/catalog.sqlite"))]
    #[case("postgres://db/mavis", None)]
    fn a_catalog_may_be_a_file(#[case] url: &str, #[case] file: Option<&str>) {
        assert_eq!(sqlite_file(url), file);
    }
}
