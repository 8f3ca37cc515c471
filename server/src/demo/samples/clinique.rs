use rand::{Rng, rngs::StdRng};

use super::{
    people::{hurried, mixed_date, or_nothing, person, pick},
    workbook::{Cell, Sheet},
};

const PATIENTS: u32 = 800;

/// A clinic's list as a secretary keeps it: a title over merged cells, dates now as dates and now as text, some patients
/// twice.
pub(super) fn workbook(rng: &mut StdRng) -> anyhow::Result<Vec<u8>> {
    let header = ["N° dossier", "Nom", "Prénom", "Sexe", "Date de naissance", "Téléphone", "Ville", "Médecin traitant"];
    let mut sheet = Sheet::new("Patients", header.len());
    sheet.merged("Clinique Sainte-Anne : liste des patients");
    sheet.row(Vec::new());
    sheet.row(header.iter().map(|name| Cell::Text((*name).to_owned())).collect());
    for number in 1..=PATIENTS {
        let person = person(rng);
        let sex = match (rng.random_range(0..25), person.woman) {
            (0, _) => "N/A",
            (1..=3, true) => "Femme",
            (1..=3, false) => "Homme",
            (_, true) => "F",
            (_, false) => "M",
        };
        let born = match rng.random_range(0..10) {
            0 => Cell::Text("N/A".to_owned()),
            1..=5 => Cell::Date(person.born),
            _ => Cell::Text(mixed_date(rng, person.born)),
        };
        let phone = or_nothing(rng, 0.2, person.phone);
        let doctor =
            format!("Dr {}", pick(rng, &["Nadia Roux", "Paul Faure", "Inès Joly", "Karim Denis"], "Nadia Roux"));
        let row = vec![
            Cell::Text(format!("D-{number:05}")),
            Cell::Text(hurried(rng, person.family)),
            Cell::Text(hurried(rng, person.given)),
            Cell::Text(sex.to_owned()),
            born,
            phone.map_or(Cell::Empty, Cell::Text),
            Cell::Text(hurried(rng, person.city)),
            or_nothing(rng, 0.1, doctor).map_or(Cell::Empty, Cell::Text),
        ];
        if rng.random_bool(0.02) {
            sheet.row(row.clone());
        }
        sheet.row(row);
    }
    sheet.finish()
}
