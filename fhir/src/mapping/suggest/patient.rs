use super::{Claims, Suggestion, Table, is_date, is_text, patient_words::CONCEPTS};

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
