use super::{Claims, Suggestion, Table, encounter_words::CONCEPTS, is_date};

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
