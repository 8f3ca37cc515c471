use super::{
    Claims, Suggestion, Table, is_date,
    names::{Concept, Kind},
};

const fn concept(name: &'static str, kind: Kind, synonyms: &'static [&'static str]) -> Concept {
    Concept { name, synonyms, kind }
}

const CONCEPTS: &[Concept] = &[
    concept(
        "subject",
        Kind::NotDate,
        &[
            "patient_id",
            "id_patient",
            "patient",
            "pat_id",
            "id_pat",
            "ipp",
            "ipp_patient",
            "patient_ipp",
            "nip",
            "mrn",
            "patient_mrn",
            "fk_patient",
            "patient_fk",
            "subject_id",
            "no_patient",
            "num_patient",
            "numero_patient",
            "patient_number",
            "ref_patient",
            "patient_ref",
            "code_patient",
        ],
    ),
    concept(
        "identifier",
        Kind::NotDate,
        &[
            "iep",
            "nda",
            "numero_sejour",
            "num_sejour",
            "no_sejour",
            "id_sejour",
            "sejour_id",
            "encounter_id",
            "id_encounter",
            "visit_id",
            "visit_number",
            "visit_no",
            "hospitalization_id",
            "hospitalisation_id",
            "id_hospitalisation",
            "id_hospitalization",
            "admission_id",
            "id_admission",
            "admission_number",
            "stay_id",
            "venue_id",
            "id_venue",
            "num_venue",
            "numero_venue",
            "encounter_number",
            "passage_id",
            "id_passage",
        ],
    ),
    concept(
        "start",
        Kind::Date,
        &[
            "date_entree",
            "dt_entree",
            "entree",
            "date_heure_entree",
            "date_admission",
            "dt_admission",
            "admission_date",
            "admission_datetime",
            "admission_time",
            "admission",
            "admitted_at",
            "admit_date",
            "admit_time",
            "date_debut",
            "debut",
            "dt_debut",
            "date_debut_sejour",
            "debut_sejour",
            "start_date",
            "start",
            "started_at",
            "start_time",
            "period_start",
            "date_hospitalisation",
            "hospitalization_date",
            "date_arrivee",
            "arrivee",
            "arrival_date",
            "arrival",
            "arrival_time",
            "visit_date",
            "date_visite",
            "date_venue",
            "date_consultation",
            "consultation_date",
            "encounter_date",
            "date_in",
        ],
    ),
    concept(
        "end",
        Kind::Date,
        &[
            "date_sortie",
            "dt_sortie",
            "sortie",
            "date_heure_sortie",
            "discharge_date",
            "discharge_datetime",
            "discharge_time",
            "discharge",
            "discharged_at",
            "date_fin",
            "fin",
            "dt_fin",
            "date_fin_sejour",
            "fin_sejour",
            "end_date",
            "end",
            "ended_at",
            "end_time",
            "period_end",
            "date_depart",
            "depart",
            "departure_date",
            "departure_time",
            "date_out",
        ],
    ),
    concept(
        "reason",
        Kind::NotDate,
        &[
            "motif",
            "motif_admission",
            "motif_hospitalisation",
            "motif_entree",
            "motif_venue",
            "motif_consultation",
            "reason",
            "admission_reason",
            "reason_for_visit",
            "visit_reason",
            "chief_complaint",
            "diagnostic",
            "diagnosis",
            "libelle_diagnostic",
            "libelle_motif",
            "admission_diagnosis",
        ],
    ),
    concept(
        "diagnosis_code",
        Kind::NotDate,
        &[
            "code_diagnostic",
            "diagnostic_code",
            "diagnostic_principal",
            "dp",
            "cim10",
            "code_cim10",
            "cim_10",
            "code_cim",
            "icd10",
            "icd_10",
            "icd10_code",
            "icd_code",
            "diagnosis_code",
            "primary_diagnosis_code",
        ],
    ),
    concept(
        "service",
        Kind::NotDate,
        &[
            "service",
            "service_name",
            "nom_service",
            "libelle_service",
            "service_libelle",
            "department",
            "department_name",
            "unite",
            "ward",
            "specialite",
            "specialty",
            "service_type",
            "unite_medicale",
        ],
    ),
    concept(
        "service_id",
        Kind::NotDate,
        &[
            "service_id",
            "id_service",
            "code_service",
            "service_code",
            "department_id",
            "unite_id",
            "id_unite",
            "code_uf",
            "uf",
            "uf_id",
            "ward_id",
            "fk_service",
        ],
    ),
    concept(
        "status",
        Kind::NotDate,
        &["statut", "status", "etat", "etat_sejour", "statut_sejour", "encounter_status", "visit_status", "state"],
    ),
    concept(
        "class",
        Kind::NotDate,
        &[
            "type_sejour",
            "class",
            "classe",
            "encounter_class",
            "patient_class",
            "type_hospitalisation",
            "type_hospitalization",
            "type_admission",
            "admission_type",
            "type_venue",
            "visit_type",
            "encounter_type",
            "mode_hospitalisation",
            "type",
        ],
    ),
    concept(
        "practitioner_id",
        Kind::NotDate,
        &[
            "medecin_id",
            "id_medecin",
            "doctor_id",
            "physician_id",
            "practitioner_id",
            "praticien_id",
            "id_praticien",
            "attending_id",
            "medecin_responsable_id",
            "id_medecin_responsable",
            "staff_id",
            "fk_medecin",
            "provider_id",
        ],
    ),
    concept(
        "practitioner",
        Kind::NotDate,
        &[
            "medecin",
            "medecin_responsable",
            "doctor",
            "physician",
            "praticien",
            "attending",
            "attending_physician",
            "nom_medecin",
            "doctor_name",
        ],
    ),
    concept(
        "discharge",
        Kind::NotDate,
        &["mode_sortie", "destination_sortie", "destination", "discharge_disposition", "discharge_mode", "devenir"],
    ),
    concept(
        "source",
        Kind::NotDate,
        &["mode_entree", "provenance", "origine", "admit_source", "admission_source", "admission_mode"],
    ),
    concept(
        "bed",
        Kind::NotDate,
        &[
            "lit",
            "num_lit",
            "numero_lit",
            "bed",
            "bed_number",
            "chambre",
            "num_chambre",
            "numero_chambre",
            "room",
            "room_number",
        ],
    ),
    concept("priority", Kind::NotDate, &["priorite", "priority", "urgence", "degre_urgence", "urgency", "triage"]),
    concept(
        "length",
        Kind::NotDate,
        &["duree_sejour", "duree", "nb_jours", "nombre_jours", "length_stay", "los", "stay_length", "duration_days"],
    ),
];

pub(super) fn suggest(table: &Table) -> Option<Suggestion> {
    let claims = Claims::new(table, CONCEPTS);
    let start = claims.sql("start")?;
    // a lone foreign key to the patient is no key of the stay
    let key = table.key_columns(claims.found("identifier"))?;
    let mut lines: Vec<(&str, String)> = Vec::new();
    let identifier = match (key.as_slice(), claims.found("identifier")) {
        (_, Some(found)) => Some(table.sql(found.column)),
        ([column], None) if claims.found("subject").is_none_or(|subject| subject.column != *column) => {
            Some(table.sql(*column))
        }
        _ => None,
    };
    if let Some(sql) = identifier {
        lines.push(("identifier[0].system", format!("'urn:mavis:{}:encounter'", table.schema)));
        lines.push(("identifier[0].value", sql));
    }
    lines.push((
        "status",
        match (claims.sql("status"), claims.sql("end")) {
            (Some(status), _) => format!("code_map('encounter-status', {status})"),
            (None, Some(end)) => format!("CASE WHEN {end} IS NULL THEN 'in-progress' ELSE 'finished' END"),
            (None, None) => "'unknown'".to_owned(),
        },
    ));
    lines.push(("class.system", "'http://terminology.hl7.org/CodeSystem/v3-ActCode'".to_owned()));
    let inpatient = table.names.has(&[
        "hospitalisation",
        "hospitalization",
        "hosp",
        "sejour",
        "sejours",
        "admission",
        "stay",
        "stays",
    ]);
    lines.push((
        "class.code",
        match claims.sql("class") {
            Some(class) => format!("code_map('encounter-class', {class})"),
            None if inpatient => "'IMP'".to_owned(),
            None => "'AMB'".to_owned(),
        },
    ));
    if let Some(sql) = claims.sql("subject") {
        lines.push(("subject", format!("reference('Patient', {sql})")));
    }
    lines.push(("period.start", moment(&claims, "start", start)));
    if let Some(end) = claims.sql("end") {
        lines.push(("period.end", moment(&claims, "end", end)));
    }
    for (path, concept) in [
        ("reasonCode[0].text", "reason"),
        ("serviceType.text", "service"),
        ("priority.text", "priority"),
        ("hospitalization.admitSource.text", "source"),
        ("hospitalization.dischargeDisposition.text", "discharge"),
        ("location[0].location.display", "bed"),
        ("participant[0].individual.display", "practitioner"),
    ] {
        lines.extend(claims.sql(concept).map(|sql| (path, sql)));
    }
    if let Some(sql) = claims.sql("diagnosis_code") {
        lines.push(("reasonCode[0].coding[0].system", "'http://hl7.org/fhir/sid/icd-10'".to_owned()));
        lines.push(("reasonCode[0].coding[0].code", sql));
    }
    if let Some(sql) = claims.sql("practitioner_id") {
        lines.push(("participant[0].individual", format!("reference('Practitioner', {sql})")));
    }
    if let Some(sql) = claims.sql("service_id") {
        lines.push(("serviceProvider", format!("reference('Organization', {sql})")));
    }
    if let Some(sql) = claims.sql("length") {
        lines.push(("length.value", sql));
        lines.push(("length.unit", "'d'".to_owned()));
        lines.push(("length.system", "'http://unitsofmeasure.org'".to_owned()));
        lines.push(("length.code", "'d'".to_owned()));
    }

    let named = inpatient
        || table.names.has(&[
            "encounter",
            "encounters",
            "visit",
            "visits",
            "venue",
            "venues",
            "visite",
            "visites",
            "consultation",
            "passage",
            "passages",
            "rum",
            "rss",
        ]);
    let mut confidence = 0.35 * claims.score("subject")
        + 0.25 * claims.score("start")
        + 0.15 * claims.score("end")
        + if named { 0.2 } else { 0.0 }
        + if claims.found("identifier").is_some() || !table.key.is_empty() { 0.05 } else { 0.0 };
    if claims.found("subject").is_none() {
        confidence *= 0.5;
    }
    Some(Suggestion {
        mapping: table.mapping("Encounter", &key, lines)?,
        confidence: confidence.min(1.0),
        unmapped: table.unmapped(&claims, &key),
    })
}

/// A date or a timestamp as it is; text as a FHIR date, with its time of day where it has one.
fn moment(claims: &Claims<'_>, concept: &str, sql: String) -> String {
    match claims.data_type(concept) {
        Some(data_type) if is_date(data_type) => sql,
        // what is no moment stays as it is and is refused, not lost
        _ => format!(
            "CASE WHEN char_length({sql}) > 10 THEN \
             coalesce(to_char(TRY_CAST({sql} AS TIMESTAMP), '%Y-%m-%dT%H:%M:%SZ'), {sql}) ELSE fhir_date({sql}) END"
        ),
    }
}
