use super::{
    Claims, Suggestion, Table, is_date, is_text,
    names::{Concept, Kind},
};

const fn concept(name: &'static str, kind: Kind, synonyms: &'static [&'static str]) -> Concept {
    Concept { name, synonyms, kind }
}

const CONCEPTS: &[Concept] = &[
    concept(
        "identifier",
        Kind::NotDate,
        &[
            "patient_id",
            "id_patient",
            "patient_identifier",
            "identifiant_patient",
            "identifiant",
            "pat_id",
            "id_pat",
            "code_patient",
            "patient_number",
            "patient_no",
            "numero_patient",
            "num_patient",
            "no_patient",
        ],
    ),
    concept(
        "record",
        Kind::NotDate,
        &[
            "ipp",
            "nip",
            "num_ipp",
            "numero_ipp",
            "ipp_patient",
            "numero_dossier",
            "num_dossier",
            "no_dossier",
            "dossier",
            "mrn",
            "medical_record_number",
            "record_number",
        ],
    ),
    concept(
        "national",
        Kind::NotDate,
        &[
            "nir",
            "ins",
            "insi",
            "ins_nir",
            "numero_secu",
            "num_secu",
            "no_secu",
            "numero_securite_sociale",
            "nss",
            "ssn",
            "securite_sociale",
            "social_security_number",
            "national_id",
            "nhs_number",
            "numero_national",
        ],
    ),
    concept(
        "family",
        Kind::NotDate,
        &[
            "nom",
            "nom_usuel",
            "nom_usage",
            "nom_patient",
            "nom_famille",
            "nom_marital",
            "last_name",
            "lastname",
            "lname",
            "surname",
            "family_name",
            "family",
            "name_last",
            "name_family",
        ],
    ),
    concept(
        "maiden",
        Kind::NotDate,
        &[
            "nom_naissance",
            "nom_jeune_fille",
            "njf",
            "nom_patronymique",
            "patronyme",
            "nom_jf",
            "birth_name",
            "maiden_name",
            "maiden",
            "name_at_birth",
            "nom_nais",
        ],
    ),
    concept(
        "given",
        Kind::NotDate,
        &[
            "prenom",
            "prenoms",
            "prenom_usuel",
            "prenom_1",
            "prenom1",
            "premier_prenom",
            "first_name",
            "firstname",
            "fname",
            "given_name",
            "given",
            "forename",
            "name_first",
            "name_given",
            "prenom_naissance",
        ],
    ),
    concept(
        "middle",
        Kind::NotDate,
        &[
            "deuxieme_prenom",
            "second_prenom",
            "prenom_2",
            "prenom2",
            "autres_prenoms",
            "middle_name",
            "middlename",
            "second_name",
        ],
    ),
    concept("prefix", Kind::NotDate, &["civilite", "titre", "title", "prefix", "name_prefix", "salutation"]),
    concept(
        "birth_date",
        Kind::Date,
        &[
            "date_naissance",
            "ddn",
            "dnais",
            "date_nais",
            "date_naiss",
            "dt_naissance",
            "dt_naiss",
            "dtnaiss",
            "d_naissance",
            "naissance",
            "ne_le",
            "nee_le",
            "birth_date",
            "birthdate",
            "date_birth",
            "dob",
            "birthday",
            "birth",
            "born_on",
        ],
    ),
    concept(
        "gender",
        Kind::NotDate,
        &["sexe", "sex", "gender", "genre", "code_sexe", "sexe_code", "sex_code", "gender_code"],
    ),
    concept(
        "line",
        Kind::NotDate,
        &[
            "adresse",
            "adresse1",
            "adresse_1",
            "adresse_ligne1",
            "adresse_ligne_1",
            "adr",
            "adr1",
            "rue",
            "voie",
            "address",
            "address1",
            "address_1",
            "address_line",
            "address_line1",
            "address_line_1",
            "street",
            "street_address",
            "adresse_postale",
        ],
    ),
    concept(
        "line2",
        Kind::NotDate,
        &[
            "adresse2",
            "adresse_2",
            "adresse_ligne2",
            "adresse_ligne_2",
            "adr2",
            "complement_adresse",
            "address2",
            "address_2",
            "address_line2",
            "address_line_2",
        ],
    ),
    concept(
        "postal_code",
        Kind::NotDate,
        &[
            "code_postal",
            "cp",
            "cod_postal",
            "zip",
            "zip_code",
            "zipcode",
            "postal_code",
            "postcode",
            "adresse_cp",
            "address_zip",
        ],
    ),
    concept(
        "city",
        Kind::NotDate,
        &["ville", "commune", "localite", "city", "town", "municipality", "adresse_ville", "address_city"],
    ),
    concept("district", Kind::NotDate, &["departement", "district", "county"]),
    concept("state", Kind::NotDate, &["region", "state", "province"]),
    concept(
        "country",
        Kind::NotDate,
        &["pays", "country", "code_pays", "country_code", "pays_residence", "adresse_pays"],
    ),
    concept(
        "phone",
        Kind::NotDate,
        &[
            "telephone",
            "tel",
            "tel1",
            "tel_fixe",
            "telephone_fixe",
            "tel_domicile",
            "numero_telephone",
            "num_telephone",
            "num_tel",
            "numero_tel",
            "no_tel",
            "phone",
            "phone_number",
            "phone1",
            "home_phone",
            "telephone_number",
            "contact_number",
        ],
    ),
    concept(
        "mobile",
        Kind::NotDate,
        &[
            "mobile",
            "portable",
            "gsm",
            "tel_mobile",
            "tel_portable",
            "telephone_mobile",
            "telephone_portable",
            "tel2",
            "cell",
            "cell_phone",
            "cellphone",
            "mobile_phone",
            "mobile_number",
            "num_portable",
            "phone_mobile",
        ],
    ),
    concept(
        "email",
        Kind::NotDate,
        &[
            "email",
            "e_mail",
            "mail",
            "courriel",
            "email_address",
            "adresse_mail",
            "adresse_email",
            "adresse_electronique",
            "mel",
        ],
    ),
    concept(
        "death_date",
        Kind::Date,
        &[
            "date_deces",
            "dt_deces",
            "ddc",
            "decede_le",
            "death_date",
            "date_death",
            "deceased_date",
            "date_deceased",
            "dod",
            "deceased_at",
            "died_on",
        ],
    ),
    concept(
        "deceased",
        Kind::Any,
        &[
            "decede",
            "decedee",
            "deces",
            "est_decede",
            "dcd",
            "deceased",
            "is_deceased",
            "dead",
            "is_dead",
            "death",
            "indicateur_deces",
        ],
    ),
    concept(
        "marital",
        Kind::NotDate,
        &[
            "situation_familiale",
            "situation_matrimoniale",
            "statut_marital",
            "etat_matrimonial",
            "marital_status",
            "marital",
        ],
    ),
    concept(
        "language",
        Kind::NotDate,
        &["langue", "langue_parlee", "language", "preferred_language", "langue_maternelle"],
    ),
    concept(
        "organization",
        Kind::NotDate,
        &[
            "clinic_id",
            "clinique_id",
            "id_clinique",
            "etablissement_id",
            "id_etablissement",
            "hospital_id",
            "hopital_id",
            "facility_id",
            "organization_id",
            "organisation_id",
            "finess",
            "code_etablissement",
        ],
    ),
    concept(
        "practitioner",
        Kind::NotDate,
        &[
            "medecin_traitant_id",
            "id_medecin_traitant",
            "general_practitioner_id",
            "gp_id",
            "primary_care_physician_id",
        ],
    ),
];

pub(super) fn suggest(table: &Table) -> Option<Suggestion> {
    let mut claims = Claims::new(table, CONCEPTS);
    if claims.found("death_date").is_some() {
        claims.release("deceased");
    }
    let key = table.key_columns(claims.found("identifier").or(claims.found("record")))?;
    let mut lines: Vec<(&str, String)> = Vec::new();
    let mut identifiers = vec![];
    if let [column] = key.as_slice() {
        identifiers.push((table.sql(*column), "patient".to_owned()));
    }
    for concept in ["identifier", "record", "national"] {
        if let Some(found) = claims.found(concept)
            && key != [found.column]
        {
            identifiers.push((table.sql(found.column), table.columns[found.column].names.joined.clone()));
        }
    }
    let paths = [
        ("identifier[0].system", "identifier[0].value"),
        ("identifier[1].system", "identifier[1].value"),
        ("identifier[2].system", "identifier[2].value"),
        ("identifier[3].system", "identifier[3].value"),
    ];
    for ((system, value), (sql, what)) in paths.into_iter().zip(identifiers) {
        lines.push((system, format!("'urn:mavis:{}:{what}'", table.schema)));
        lines.push((value, sql));
    }
    name_lines(&claims, &mut lines);
    let mut plain = |claims: &Claims<'_>, path: &'static str, concept: &str| {
        lines.extend(claims.sql(concept).map(|sql| (path, sql)));
    };
    for (path, concept) in [
        ("address[0].line[0]", "line"),
        ("address[0].line[1]", "line2"),
        ("address[0].postalCode", "postal_code"),
        ("address[0].city", "city"),
        ("address[0].district", "district"),
        ("address[0].state", "state"),
        ("address[0].country", "country"),
        ("maritalStatus.text", "marital"),
        ("communication[0].language.text", "language"),
    ] {
        plain(&claims, path, concept);
    }
    if let Some(sql) = claims.sql("gender") {
        lines.push(("gender", format!("code_map('administrative-gender', {sql})")));
    }
    for (path, concept) in [("birthDate", "birth_date"), ("deceasedDateTime", "death_date")] {
        if let (Some(sql), Some(data_type)) = (claims.sql(concept), claims.data_type(concept)) {
            lines.push((path, if is_date(data_type) { sql } else { format!("fhir_date({sql})") }));
        }
    }
    if let (Some(sql), Some(data_type)) = (claims.sql("deceased"), claims.data_type("deceased")) {
        lines.push(deceased(sql, data_type));
    }
    telecom_lines(&claims, &mut lines);
    if let Some(sql) = claims.sql("organization") {
        lines.push(("managingOrganization", format!("reference('Organization', {sql})")));
    }
    if let Some(sql) = claims.sql("practitioner") {
        lines.push(("generalPractitioner[0]", format!("reference('Practitioner', {sql})")));
    }

    let family = claims.score("family").max(claims.score("maiden"));
    let core =
        0.25 * family + 0.2 * claims.score("given") + 0.25 * claims.score("birth_date") + 0.15 * claims.score("gender");
    let named = table.names.has(&["patient", "patients", "pat", "malade", "malades", "usager", "usagers"]);
    let keyed = claims.found("identifier").or(claims.found("record")).is_some() || !table.key.is_empty();
    // someone with a name and nothing else may as well be staff
    let personal = claims.found("birth_date").is_some() || claims.found("gender").is_some() || named;
    let other = table.names.has(&[
        "staff",
        "personnel",
        "medecin",
        "praticien",
        "doctor",
        "employee",
        "agent",
        "user",
        "users",
    ]);
    let mut confidence = core + if keyed { 0.05 } else { 0.0 } + if named { 0.1 } else { 0.0 };
    if !personal || other || family == 0.0 {
        confidence *= 0.4;
    }
    Some(Suggestion {
        mapping: table.mapping("Patient", &key, lines)?,
        confidence: confidence.min(1.0),
        unmapped: table.unmapped(&claims, &key),
    })
}

/// The usual name first and the birth name second; where there is only the birth name it is the only one.
fn name_lines(claims: &Claims<'_>, lines: &mut Vec<(&'static str, String)>) {
    let (usual, birth) = (claims.sql("family"), claims.sql("maiden"));
    let literal = |text: &str| format!("'{text}'");
    match (usual, birth) {
        (Some(usual), Some(birth)) => {
            lines.push(("name[0].use", literal("usual")));
            lines.push(("name[0].family", usual));
            lines.push(("name[1].use", literal("maiden")));
            lines.push(("name[1].family", birth));
        }
        (Some(usual), None) => lines.push(("name[0].family", usual)),
        (None, Some(birth)) => {
            lines.push(("name[0].use", literal("official")));
            lines.push(("name[0].family", birth));
        }
        (None, None) => {}
    }
    for (path, concept) in
        [("name[0].given[0]", "given"), ("name[0].given[1]", "middle"), ("name[0].prefix[0]", "prefix")]
    {
        lines.extend(claims.sql(concept).map(|sql| (path, sql)));
    }
}

fn telecom_lines(claims: &Claims<'_>, lines: &mut Vec<(&'static str, String)>) {
    const SLOTS: [[&str; 3]; 3] = [
        ["telecom[0].system", "telecom[0].value", "telecom[0].use"],
        ["telecom[1].system", "telecom[1].value", "telecom[1].use"],
        ["telecom[2].system", "telecom[2].value", "telecom[2].use"],
    ];
    let found = [("phone", "phone", None), ("mobile", "phone", Some("mobile")), ("email", "email", None)]
        .into_iter()
        .filter_map(|(concept, system, usage)| Some((claims.sql(concept)?, system, usage)));
    for ([system_path, value_path, use_path], (sql, system, usage)) in SLOTS.into_iter().zip(found) {
        lines.push((system_path, format!("'{system}'")));
        lines.push((value_path, sql));
        if let Some(usage) = usage {
            lines.push((use_path, format!("'{usage}'")));
        }
    }
}

fn deceased(sql: String, data_type: &str) -> (&'static str, String) {
    if is_date(data_type) {
        ("deceasedDateTime", sql)
    } else if data_type == "Boolean" {
        ("deceasedBoolean", sql)
    } else if is_text(data_type) {
        let yes = "'1', 'o', 'oui', 'y', 'yes', 't', 'true', 'vrai', 'd', 'dcd', 'decede', 'decedee'";
        ("deceasedBoolean", format!("fhir_fold({sql}) IN ({yes})"))
    } else {
        ("deceasedBoolean", format!("{sql} = 1"))
    }
}
