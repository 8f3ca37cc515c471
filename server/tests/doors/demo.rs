use std::{path::Path, process::Output};

use crate::harness::{run, stderr, stdout};

async fn demo(data: &Path) -> Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mavis"));
    command.args(["demo", "--once", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--data"]).arg(data);
    run(command).await
}

/// The numbers of a row of the demo's table, by the table's name.
fn row(table: &str, name: &str) -> Vec<u64> {
    let line = table.lines().find(|line| line.trim().starts_with(name)).unwrap_or_else(|| panic!("no {name}: {table}"));
    line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_fills_every_zone_and_a_second_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let first = demo(folder.path()).await;
    assert!(first.status.success(), "{}", stderr(&first));
    let table = stdout(&first);
    // read, raw, processed, FHIR, quarantined, duplicates, not mapped
    let patients = row(&table, "hms.hms_patient");
    assert_eq!(patients[..2], [5000, 5000], "{table}");
    assert_eq!(patients[3] + patients[4], 5000, "every patient is a resource or set aside: {table}");
    assert!(patients[4] > 0, "impossible birth dates are set aside: {table}");
    let stays = row(&table, "hms.acs_hospitalization");
    assert_eq!(stays[0], 12_000, "{table}");
    assert_eq!(stays[2], 11_940, "stays that were exported twice are there once: {table}");
    let clinic = row(&table, "clinique.patients");
    assert!(clinic[0] > 800 && clinic[3] == 800, "{table}");
    let labs = row(&table, "labs.labs");
    assert!(
        labs[4] > 0 && labs[4] < 100,
        "only results that are no numbers are set aside, sodium (NA) is not: {table}"
    );
    let pressure = row(&table, "blood_pressure.observation");
    assert_eq!((pressure[0], pressure[3]), (24_000, 24_000), "{table}");
    assert_eq!(stays[5], 60, "{table}");
    for row in [&patients, &stays, &clinic, &labs, &pressure] {
        assert_eq!(row[1], row[3] + row[4] + row[5] + row[6], "every row of raw is somewhere: {table}");
    }
    assert!(!table.contains("Nothing changed"), "{table}");

    let second = demo(folder.path()).await;
    assert!(second.status.success(), "{}", stderr(&second));
    assert!(stdout(&second).contains("Nothing changed"), "{}", stdout(&second));
}
