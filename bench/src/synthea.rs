//! The synthetic patients as NDJSON, and copies of them under new ids.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, BufWriter, Write},
    path::Path,
};

use anyhow::{Context, Result};
use mavis_tests::Server;

/// Imports the Bundles of a folder once, so that references are resolved, and writes a file of NDJSON per type
/// (`observation.ndjson`). Answers the number of resources.
///
/// # Errors
/// When the server does not start or does not take them.
pub async fn as_ndjson(bundles: &Path, folder: &Path) -> Result<u32> {
    let server = Server::start().await?;
    server.mavis(&["fhir", "import", bundles.to_str().context("not UTF-8")?])?.ok()?;
    let mut resources = 0;
    for table in server.sql("SELECT table_name FROM information_schema.tables WHERE table_schema = 'r4'").await? {
        let table = table["table_name"].as_str().context("no name")?.to_owned();
        let mut file = BufWriter::new(File::create(folder.join(format!("{table}.ndjson")))?);
        for row in server.sql(&format!("SELECT resource FROM fhir.r4.{table}")).await? {
            writeln!(file, "{}", row["resource"].as_str().context("no resource")?)?;
            resources += 1;
        }
        file.flush()?;
    }
    Ok(resources)
}

/// Writes each line of a file `copies` times, and answers the ids of what was written. In copy `n` every UUID of a resource
/// (its id, those that it refers to, identifiers) has `n` mixed into its first 16 bits, so that copies of several files with
/// the same number refer to one another.
///
/// # Errors
/// When a file cannot be read or written.
pub fn copy(from: &Path, to: &Path, copies: u16) -> Result<Vec<String>> {
    let lines: Vec<String> = BufReader::new(File::open(from)?).lines().collect::<std::io::Result<_>>()?;
    let places: Vec<Vec<usize>> = lines.iter().map(|line| uuids(line.as_bytes())).collect();
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut out = BufWriter::with_capacity(1 << 20, File::create(to)?);
    let mut ids = Vec::with_capacity(lines.len() * usize::from(copies));
    for copy in 0..copies {
        for (line, places) in lines.iter().zip(&places) {
            let mut line = line.clone().into_bytes();
            for place in places {
                mix(&mut line, *place, copy);
            }
            ids.push(own_id(&line).context("a resource without an id")?);
            line.push(b'\n');
            out.write_all(&line)?;
        }
    }
    out.flush()?;
    Ok(ids)
}

/// Where UUIDs begin.
fn uuids(line: &[u8]) -> Vec<usize> {
    let is_uuid = |text: &[u8]| {
        text.iter().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
    };
    let mut found = Vec::new();
    let mut at = 0;
    while at + 36 <= line.len() {
        let starts = at == 0 || !line[at - 1].is_ascii_hexdigit();
        if line[at + 8] == b'-' && starts && is_uuid(&line[at..at + 36]) {
            found.push(at);
            at += 36;
        } else {
            at += 1;
        }
    }
    found
}

fn mix(line: &mut [u8], place: usize, copy: u16) {
    let digits = line.get(place..place + 4).and_then(|digits| std::str::from_utf8(digits).ok());
    let number = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok()).unwrap_or_default();
    let mixed = format!("{:04x}", number ^ copy);
    line[place..place + 4].copy_from_slice(mixed.as_bytes());
}

fn own_id(line: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(line).ok()?;
    let (_, rest) = text.split_once("\"id\":\"")?;
    Some(rest.split_once('"')?.0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_refer_to_copies_of_the_same_number() {
        let line =
            r#"{"id":"d17f1175-960a-4a2b-8270-d263f74d4456","ref":"Patient/057aa36e-b892-9964-75b9-ffb46b097e34"}"#;
        let folder = std::env::temp_dir().join(format!("mavis-copies-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("a"), format!("{line}\n")).unwrap();
        let ids = copy(&folder.join("a"), &folder.join("b"), 3).unwrap();
        let text = fs::read_to_string(folder.join("b")).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let first: Vec<&str> = text.lines().collect();
        assert_eq!(first[0], line);
        assert_eq!(ids[2], "d17d1175-960a-4a2b-8270-d263f74d4456");
        assert!(first[2].contains("Patient/0578a36e-"), "{}", first[2]);
    }
}
