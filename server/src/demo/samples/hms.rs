use std::path::Path;

use chrono::{Days, NaiveDate};
use rand::{Rng, rngs::StdRng};
use sqlx::{ConnectOptions, Connection, QueryBuilder, Sqlite, SqliteConnection, sqlite::SqliteConnectOptions};

use super::people::{day, hurried, mixed_date, or_nothing, person, pick};

const PATIENTS: i64 = 5000;
const STAYS: i64 = 12_000;
/// Stays that the old system exported twice.
const STAYS_TWICE: i64 = 60;
const STAFF: i64 = 220;
const SERVICES: [(&str, &str, i64); 14] = [
    ("URG", "Urgences", 0),
    ("CARD", "Cardiologie", 3),
    ("PNEU", "Pneumologie", 3),
    ("NEUR", "Neurologie", 4),
    ("GAST", "Gastro-entérologie", 2),
    ("ONCO", "Oncologie", 5),
    ("PEDI", "Pédiatrie", 1),
    ("MATE", "Maternité", 1),
    ("CHIR", "Chirurgie générale", 2),
    ("ORTH", "Orthopédie", 2),
    ("REAN", "Réanimation", 0),
    ("GERI", "Gériatrie", 4),
    ("PSYC", "Psychiatrie", 6),
    ("NEPH", "Néphrologie", 5),
];
const REASONS: [&str; 10] = [
    "Douleur thoracique",
    "Dyspnée",
    "Chute",
    "Fièvre",
    "Chirurgie programmée",
    "Accouchement",
    "Bilan",
    "Insuffisance cardiaque",
    "Pneumopathie",
    "Diabète déséquilibré",
];

const TABLES: [&str; 4] = [
    "CREATE TABLE hms_service (code_service TEXT PRIMARY KEY NOT NULL, libelle TEXT NOT NULL, etage INTEGER)",
    "CREATE TABLE hms_staff (id_agent INTEGER PRIMARY KEY, nom TEXT, prenom TEXT, sexe TEXT, fonction TEXT, \
     code_service TEXT REFERENCES hms_service(code_service), date_embauche TEXT)",
    "CREATE TABLE hms_patient (id_patient INTEGER PRIMARY KEY, ipp TEXT NOT NULL, nom TEXT, prenom TEXT, sexe TEXT, \
     date_naissance TEXT, adresse TEXT, code_postal TEXT, ville TEXT, telephone TEXT, groupe_sanguin TEXT, \
     date_creation TEXT)",
    // No key: the old system exported some stays twice.
    "CREATE TABLE acs_hospitalization (numero_sejour TEXT, id_patient INTEGER, code_service TEXT, date_entree TEXT, \
     date_sortie TEXT, motif TEXT, mode_entree TEXT, statut TEXT)",
];

/// Writes a hospital's database: SQLite, French column names, everything typed by hand at some time.
pub(super) async fn write(path: &Path, rng: &mut StdRng) -> anyhow::Result<()> {
    if path.exists() {
        std::fs::remove_file(path)?;
    }
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true).disable_statement_logging();
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let mut transaction = connection.begin().await?;
    for table in TABLES {
        sqlx::query(table).execute(&mut *transaction).await?;
    }
    insert(&mut transaction, "INSERT INTO hms_service (code_service, libelle, etage) ", &SERVICES, |row, service| {
        row.push_bind(service.0).push_bind(service.1).push_bind(service.2);
    })
    .await?;
    let staff: Vec<_> = (1..=STAFF).map(|id| agent(rng, id)).collect();
    insert(
        &mut transaction,
        "INSERT INTO hms_staff (id_agent, nom, prenom, sexe, fonction, code_service, date_embauche) ",
        &staff,
        |row, (id, texts)| bind(row.push_bind(*id), texts),
    )
    .await?;
    let patients: Vec<_> = (1..=PATIENTS).map(|id| patient(rng, id)).collect();
    insert(
        &mut transaction,
        "INSERT INTO hms_patient (id_patient, ipp, nom, prenom, sexe, date_naissance, adresse, code_postal, ville, \
         telephone, groupe_sanguin, date_creation) ",
        &patients,
        |row, (id, texts)| bind(row.push_bind(*id), texts),
    )
    .await?;
    let mut stays: Vec<_> = (1..=STAYS - STAYS_TWICE).map(|number| stay(rng, number)).collect();
    for _ in 0..STAYS_TWICE {
        let twin = stays[rng.random_range(0..stays.len())].clone();
        stays.push(twin);
    }
    insert(
        &mut transaction,
        "INSERT INTO acs_hospitalization (id_patient, numero_sejour, code_service, date_entree, date_sortie, motif, \
         mode_entree, statut) ",
        &stays,
        |row, (patient, texts)| bind(row.push_bind(*patient), texts),
    )
    .await?;
    transaction.commit().await?;
    connection.close().await?;
    Ok(())
}

type Row = (i64, Vec<Option<String>>);
type Values<'q, 'b> = sqlx::query_builder::Separated<'b, Sqlite, &'static str>;

fn bind(row: &mut Values<'_, '_>, texts: &[Option<String>]) {
    for text in texts {
        row.push_bind(text.clone());
    }
}

/// Inserts rows a few hundred at a time; SQLite takes 32,766 values in one statement.
async fn insert<T>(
    connection: &mut SqliteConnection,
    statement: &'static str,
    rows: &[T],
    mut values: impl FnMut(&mut Values<'_, '_>, &T),
) -> anyhow::Result<()> {
    for rows in rows.chunks(500) {
        let mut builder = QueryBuilder::<Sqlite>::new(statement);
        builder.push_values(rows, |mut row, one| values(&mut row, one));
        builder.build().execute(&mut *connection).await?;
    }
    Ok(())
}

fn agent(rng: &mut StdRng, id: i64) -> Row {
    let person = person(rng);
    let role = pick(rng, &["Médecin", "Infirmier", "Aide-soignant", "Sage-femme", "Interne", "Cadre"], "Médecin");
    let hired = day(rng, 1990, 2024);
    let texts = vec![
        Some(person.family.to_owned()),
        Some(person.given.to_owned()),
        Some(if person.woman { "F" } else { "M" }.to_owned()),
        Some(hurried(rng, role)),
        Some(SERVICES[rng.random_range(0..SERVICES.len())].0.to_owned()),
        Some(mixed_date(rng, hired)),
    ];
    (id, texts)
}

fn patient(rng: &mut StdRng, id: i64) -> Row {
    let person = person(rng);
    let sex = match (rng.random_range(0..40), person.woman) {
        // A code that no map knows.
        (0, _) => Some("X".to_owned()),
        (1, _) => Some("?".to_owned()),
        (2..=4, _) => or_nothing(rng, 1.0, String::new()),
        (5..=7, true) => Some("2".to_owned()),
        (5..=7, false) => Some("1".to_owned()),
        (8..=9, true) => Some("f ".to_owned()),
        (8..=9, false) => Some("h".to_owned()),
        (_, true) => Some("F".to_owned()),
        (_, false) => Some("M".to_owned()),
    };
    let born = match rng.random_range(0..250) {
        // A day that no calendar has.
        0 => Some("31/02/1980".to_owned()),
        _ => {
            let text = mixed_date(rng, person.born);
            or_nothing(rng, 0.02, text)
        }
    };
    let blood = pick(rng, &["A+", "O+", "B+", "AB+", "A-", "O-", "B-", "AB-"], "O+").to_owned();
    let created = day(rng, 2005, 2024);
    let texts = vec![
        Some(format!("IPP{:07}", 1_000_000 + id * 37 % 9_000_000)),
        Some(hurried(rng, person.family)),
        Some(hurried(rng, person.given)),
        sex,
        born,
        or_nothing(rng, 0.05, person.address),
        or_nothing(rng, 0.05, person.postcode.to_owned()),
        Some(hurried(rng, person.city)),
        or_nothing(rng, 0.15, person.phone),
        or_nothing(rng, 0.4, blood),
        Some(format!("{created} {:02}:{:02}:00", rng.random_range(7..19), rng.random_range(0..60))),
    ];
    (id, texts)
}

fn stay(rng: &mut StdRng, number: i64) -> Row {
    let admitted: NaiveDate = day(rng, 2018, 2024);
    let nights = rng.random_range(0..25);
    let left = match rng.random_range(0..300) {
        // Typed the wrong way round: out before in.
        0 => admitted.checked_sub_days(Days::new(nights + 1)),
        _ => admitted.checked_add_days(Days::new(nights)),
    };
    let open = rng.random_bool(0.03);
    let discharge = match left {
        Some(left) if !open => {
            let text = mixed_date(rng, left);
            or_nothing(rng, 0.01, text)
        }
        _ => None,
    };
    let reason = pick(rng, &REASONS, "Bilan");
    let status = if open { "en cours" } else { "terminé" };
    let texts = vec![
        Some(format!("S{number:08}")),
        Some(SERVICES[rng.random_range(0..SERVICES.len())].0.to_owned()),
        Some(mixed_date(rng, admitted)),
        discharge,
        {
            let reason = hurried(rng, reason);
            or_nothing(rng, 0.04, reason)
        },
        Some(pick(rng, &["urgence", "programmé", "mutation", "Urgence "], "urgence").to_owned()),
        Some(hurried(rng, status)),
    ];
    (rng.random_range(1..=PATIENTS), texts)
}
