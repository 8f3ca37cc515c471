use std::collections::HashSet;

use rstest::rstest;

use super::*;

fn columns(names: &[&str]) -> Vec<(String, String)> {
    names
        .iter()
        .map(|name| match name.split_once(':') {
            Some((name, data_type)) => (name.to_owned(), data_type.to_owned()),
            None => ((*name).to_owned(), "Utf8".to_owned()),
        })
        .collect()
}

fn best(table: &str, names: &[&str], key: &[&str]) -> Suggestion {
    let key: Vec<String> = key.iter().map(|key| (*key).to_owned()).collect();
    let suggestion = suggest(table, &columns(names), &key).into_iter().next().expect("a suggestion");
    assert_eq!(suggestion.mapping.check(), []);
    let back = Mapping::parse(&suggestion.mapping.to_toml()).unwrap();
    assert_eq!(back, suggestion.mapping);
    suggestion
}

fn expression<'m>(mapping: &'m Mapping, path: &str) -> Option<&'m str> {
    mapping.set.iter().find(|(other, _)| other.to_string() == path).map(|(_, expression)| expression.as_str())
}

#[rstest]
#[case::french("processed.hms.hms_patient",
    &["patient_id:Int64", "ipp", "nom", "nom_naissance", "prenom", "date_naissance:Date32", "sexe", "adresse", "code_postal", "ville", "telephone", "email", "date_deces:Date32", "groupe_sanguin"],
    &[("identifier[0].value", "p.patient_id"), ("identifier[1].value", "p.ipp"), ("name[0].family", "p.nom"), ("name[1].family", "p.nom_naissance"), ("name[0].given[0]", "p.prenom"),
      ("birthDate", "p.date_naissance"), ("gender", "code_map('administrative-gender', p.sexe)"), ("address[0].line[0]", "p.adresse"), ("address[0].postalCode", "p.code_postal"),
      ("address[0].city", "p.ville"), ("telecom[0].value", "p.telephone"), ("telecom[1].value", "p.email"), ("deceasedDateTime", "p.date_deces")],
    &["groupe_sanguin"])]
#[case::english("processed.x.patients",
    &["mrn", "last_name", "first_name", "dob", "sex", "street", "zip", "city", "phone_number", "is_deceased:Boolean"],
    &[("identifier[0].value", "p.mrn"), ("name[0].family", "p.last_name"), ("birthDate", "fhir_date(p.dob)"), ("deceasedBoolean", "p.is_deceased")],
    &[])]
#[case::abbreviated("processed.x.pat",
    &["num_dossier", "nom_usuel", "prenom_1", "ddn", "sexe", "cp", "commune", "tel_portable"],
    &[("name[0].family", "p.nom_usuel"), ("birthDate", "fhir_date(p.ddn)"), ("address[0].postalCode", "p.cp"), ("telecom[0].use", "'mobile'")],
    &[])]
fn patients_are_recognised(
    #[case] table: &str,
    #[case] names: &[&str],
    #[case] expected: &[(&str, &str)],
    #[case] unmapped: &[&str],
) {
    let key: &[&str] = if names[0].starts_with("patient_id") { &["patient_id"] } else { &[] };
    let suggestion = best(table, names, key);
    assert_eq!(suggestion.mapping.resource.name(), "Patient");
    assert!(suggestion.confidence > 0.8, "{}", suggestion.confidence);
    for (path, sql) in expected {
        assert_eq!(expression(&suggestion.mapping, path), Some(*sql), "{path}");
    }
    assert_eq!(suggestion.unmapped, unmapped);
}

#[rstest]
#[case::french("processed.hms.acs_hospitalization",
    &["hospitalisation_id:Int64", "patient_id:Int64", "date_entree:Timestamp(Microsecond, None)", "date_sortie:Timestamp(Microsecond, None)", "service_id:Int64", "motif", "mode_sortie"],
    &[("subject", "reference('Patient', p.patient_id)"), ("period.start", "p.date_entree"), ("period.end", "p.date_sortie"), ("serviceProvider", "reference('Organization', p.service_id)"),
      ("reasonCode[0].text", "p.motif"), ("hospitalization.dischargeDisposition.text", "p.mode_sortie"), ("class.code", "'IMP'"),
      ("status", "CASE WHEN p.date_sortie IS NULL THEN 'in-progress' ELSE 'finished' END"), ("identifier[0].value", "p.hospitalisation_id")])]
#[case::english("processed.x.visits",
    &["visit_id", "patient_mrn", "admission_date:Date32", "discharge_date:Date32", "department", "attending_physician", "encounter_type"],
    &[("subject", "reference('Patient', p.patient_mrn)"), ("period.start", "p.admission_date"), ("serviceType.text", "p.department"), ("participant[0].individual.display", "p.attending_physician"), ("class.code", "code_map('encounter-class', p.encounter_type)")])]
#[case::abbreviated("processed.x.admissions",
    &["encounter_id", "patient_id", "admit_dt:Timestamp(Microsecond, None)", "discharge_dt:Timestamp(Microsecond, None)", "visit_type"],
    &[("subject", "reference('Patient', p.patient_id)"), ("period.start", "p.admit_dt"), ("period.end", "p.discharge_dt"), ("identifier[0].value", "p.encounter_id")])]
#[case::discharge_summaries("processed.pmsi.rss",
    &["num_rss", "num_patient", "entree:Date32", "sortie:Date32", "dp"],
    &[("subject", "reference('Patient', p.num_patient)"), ("period.start", "p.entree"), ("identifier[0].value", "p.num_rss")])]
fn stays_are_recognised(#[case] table: &str, #[case] names: &[&str], #[case] expected: &[(&str, &str)]) {
    let suggestion = best(table, names, &[]);
    assert_eq!(suggestion.mapping.resource.name(), "Encounter");
    assert!(suggestion.confidence > 0.8, "{}", suggestion.confidence);
    for (path, sql) in expected {
        assert_eq!(expression(&suggestion.mapping, path), Some(*sql), "{path}");
    }
    assert_eq!(suggestion.unmapped, Vec::<String>::new());
}

#[rstest]
#[case("processed.hms.hms_service", &["service_id", "nom_service", "etage", "__hash"])]
#[case("processed.hms.hms_staff", &["staff_id", "nom", "prenom", "fonction"])]
#[case("processed.lab.results", &["loinc", "value", "unit"])]
fn a_table_that_is_neither_gets_no_suggestion(#[case] table: &str, #[case] names: &[&str]) {
    assert!(suggest(table, &columns(names), &[]).is_empty());
}

#[test]
fn accents_case_and_humps_make_no_difference() {
    let suggestion =
        best("processed.x.Patients", &["Numéro Dossier", "Nom", "Prénom", "DateNaissance", "SEXE", "codePostal"], &[]);
    assert_eq!(suggestion.unmapped, Vec::<String>::new());
    assert_eq!(expression(&suggestion.mapping, "address[0].postalCode"), Some("p.\"codePostal\""));
}

#[test]
fn no_column_is_claimed_twice() {
    let names = [
        "id",
        "nom",
        "nom_naissance",
        "nom_jeune_fille",
        "prenom",
        "prenom2",
        "tel",
        "telephone",
        "mobile",
        "email",
        "mail",
        "ddn",
        "sexe",
        "genre",
        "deces",
        "date_deces",
    ];
    let suggestion = best("processed.x.patient", &names, &["id"]);
    let columns: Vec<&str> = suggestion
        .mapping
        .set
        .iter()
        .filter_map(|(_, sql)| sql.split("p.").nth(1))
        .map(|sql| sql.trim_end_matches(')'))
        .collect();
    let distinct: HashSet<&&str> = columns.iter().collect();
    assert_eq!(distinct.len(), columns.len(), "{columns:?}");
    assert_eq!(columns.len() + suggestion.unmapped.len(), names.len());
}
