//! How files that a listing found are named where people read who may not see what the files hold.
//!
//! What a declaration says (a folder, a pattern) is its writer's to tell. What a listing finds below it is data: a folder
//! `patient_id=4711` and a file `Durand_Jeanne.json` say who is in them.

use std::{error::Error, fmt::Write, io};

use sha2::{Digest, Sha256};

/// Endings that say what a file is; any other may be part of a name.
const ENDINGS: [&str; 33] = [
    "csv", "tsv", "txt", "tab", "ndjson", "jsonl", "json", "xml", "parquet", "parq", "pq", "orc", "avro", "xlsx",
    "xlsm", "xlsb", "xls", "ods", "doc", "docx", "odt", "rtf", "html", "pdf", "gz", "gzip", "bz2", "zst", "zstd",
    "snappy", "lz4", "zip", "log",
];
/// Digits of a mark: enough to find one of a tree's files.
const DIGITS: usize = 8;

/// A found file for errors, logs and metrics: `year=*/patient_id=*/*.parquet#1a2b3c4d`.
///
/// The keys of its folders stand there without their values, and its ending. After `#` a mark: the first eight hexadecimal
/// digits of the SHA-256 of `<name>\t<bytes>\t<seconds>`, where the name begins at the first folder `key=value` (or is the
/// file's own), and the seconds since 1970 are those of its last change. Who has the files finds the one that is meant. A mark is
/// no secret: who knows a file's size and time can try names out. It belongs where engineers read, as the label does.
#[must_use]
pub fn file_label(path: &str, bytes: u64, seconds: i64) -> String {
    let name = told_name(path);
    let (folders, file) = name.rsplit_once('/').map_or((None, name), |(folders, file)| (Some(folders), file));
    let mut label = String::new();
    for folder in folders.into_iter().flat_map(|folders| folders.split('/')) {
        match folder.split_once('=') {
            Some((key, _)) => label.push_str(&format!("{key}=*/")),
            None => label.push_str("*/"),
        }
    }
    label.push('*');
    label.push_str(endings(file));
    label.push('#');
    label.push_str(&mark(name, bytes, seconds));
    label
}

/// Where a name that does not depend on the folder that was declared begins.
fn told_name(path: &str) -> &str {
    let mut at = 0;
    let last = path.rfind('/').map_or(0, |slash| slash + 1);
    for folder in path[..last].split_inclusive('/') {
        if folder.contains('=') {
            return &path[at..];
        }
        at += folder.len();
    }
    &path[last..]
}

/// The known endings of a file's name, with their points.
fn endings(file: &str) -> &str {
    let mut at = file.len();
    while let Some((rest, ending)) = file[..at].rsplit_once('.') {
        if rest.is_empty() || !ENDINGS.contains(&ending.to_ascii_lowercase().as_str()) {
            break;
        }
        at = rest.len();
    }
    &file[at..]
}

fn mark(name: &str, bytes: u64, seconds: i64) -> String {
    let digest = Sha256::digest(format!("{name}\t{bytes}\t{seconds}").as_bytes());
    let mut mark = String::with_capacity(DIGITS);
    for byte in digest.iter().take(DIGITS / 2) {
        // Writing into a text does not fail.
        let _written = write!(mark, "{byte:02x}");
    }
    mark
}

/// What the operating system says is the cause of an error, in its own words, which name no file; `None` where it is not the
/// cause. What lies between may name files, or repeat what a store said.
#[must_use]
pub fn system_cause(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(cause) = error.downcast_ref::<io::Error>() {
            if let Some(code) = cause.raw_os_error() {
                return Some(io::Error::from_raw_os_error(code).to_string());
            }
            if let Some(inner) = cause.get_ref() {
                let inner: &(dyn Error + 'static) = inner;
                return system_cause(inner).or_else(|| Some(cause.kind().to_string()));
            }
            return Some(cause.kind().to_string());
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn shown(path: &str) -> String {
        let label = file_label(path, 7, 1_700_000_000);
        label.rsplit_once('#').unwrap().0.to_owned()
    }

    #[rstest]
    #[case("year=2024/patient_id=4711/part-0.snappy.parquet", "year=*/patient_id=*/*.snappy.parquet")]
    #[case("year=2024/patient_id=4711/000000_0", "year=*/patient_id=*/*")]
    #[case("srv/old/persons/year=2024/Durand/a.parquet", "year=*/*/*.parquet")]
    #[case("Durand_Jeanne.json.gz", "*.json.gz")]
    #[case("letters/Jeanne.Durand", "*")]
    #[case("letters/a=b.csv", "*.csv")]
    #[case(".csv", "*")]
    fn of_a_found_file_only_keys_and_endings_are_told(#[case] path: &str, #[case] told: &str) {
        assert_eq!(shown(path), told);
    }

    #[test]
    fn a_mark_tells_files_apart_and_is_the_same_whatever_the_folder_is_that_was_declared() {
        let mark = |path: &str, bytes, seconds| file_label(path, bytes, seconds).rsplit_once('#').unwrap().1.to_owned();
        let one = mark("year=2024/p=1/a.parquet", 10, 20);
        assert_eq!(one.len(), DIGITS);
        assert_eq!(mark("srv/old/t/year=2024/p=1/a.parquet", 10, 20), one);
        for other in [
            ("year=2024/p=2/a.parquet", 10, 20),
            ("year=2024/p=1/a.parquet", 11, 20),
            ("year=2024/p=1/a.parquet", 10, 21),
        ] {
            assert_ne!(mark(other.0, other.1, other.2), one);
        }
    }

    /// As the documentation tells how to find a file: `printf 'year=2024/p=1/a.parquet\t10\t20' | sha256sum`.
    #[test]
    fn a_mark_is_what_sha256sum_says() {
        assert_eq!(file_label("year=2024/p=1/a.parquet", 10, 20), "year=*/p=*/*.parquet#ba9e08ad");
    }

    #[test]
    fn the_systems_own_words_are_told_without_what_stands_around_them() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot open /srv/patient_id=4711")]
        struct Around(#[source] io::Error);
        let denied = Around(io::Error::from_raw_os_error(13));
        assert!(system_cause(&denied).unwrap().starts_with("Permission denied"));
        let custom = Around(io::Error::other("patient_id=4711"));
        assert!(!system_cause(&custom).unwrap().contains("4711"));
        let nested = Around(io::Error::other(Around(io::Error::from_raw_os_error(13))));
        assert!(system_cause(&nested).unwrap().starts_with("Permission denied"));
        assert_eq!(system_cause(&std::fmt::Error), None);
    }
}
