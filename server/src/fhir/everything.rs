//! `GET Patient/[id]/$everything` (R4, "Patient", operation "everything"): what is in the patient's compartment, and what
//! that refers to.
//!
//! The compartment is that of the definitions, over all its parameters. Resources that are referred to and are in no
//! compartment (practitioners, organizations, medications) follow after it, marked `include`. Other patients are not sent
//! along for being referred to.

use std::collections::{BTreeMap, BTreeSet};

use axum::{
    Extension,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use chrono::Utc;
use datafusion::{dataframe::DataFrame, logical_expr::lit, prelude::ident};
use mavis_fhir::{
    ResourceType, bundle,
    definitions::search_parameter,
    json,
    search::{Handling, Request, Schemas, compile, in_compartment},
    temporal,
};
use mavis_sql::Session;
use mavis_types::Principal;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::{
    audit::Answered,
    base::base,
    negotiate::Format,
    outcome::Outcome,
    page::Place,
    read::{self, missing},
    rows::{Stored, columns, current, fetch, frame, is_id, texts, unplanned},
    search::tables,
};
use crate::App;

const PAGE: &str = "_page";
/// Resources on a page at most.
const MAX_COUNT: usize = 1_000;
/// Resources that are looked up at once.
const CHUNK: usize = 500;

/// The search parameter that tells when the care took place, by type; `start` and `end` are compared with it. Types without
/// one (and resources without a date) are always sent: R4 leaves it to the server.
const CARE_DATES: [(&str, &str); 33] = [
    ("AllergyIntolerance", "date"),
    ("Appointment", "date"),
    ("CarePlan", "date"),
    ("CareTeam", "date"),
    ("Claim", "created"),
    ("ClinicalImpression", "date"),
    ("Communication", "sent"),
    ("Composition", "date"),
    ("Condition", "onset-date"),
    ("Consent", "date"),
    ("DeviceRequest", "authored-on"),
    ("DiagnosticReport", "date"),
    ("DocumentReference", "date"),
    ("Encounter", "date"),
    ("EpisodeOfCare", "date"),
    ("ExplanationOfBenefit", "created"),
    ("FamilyMemberHistory", "date"),
    ("Flag", "date"),
    ("Goal", "start-date"),
    ("ImagingStudy", "started"),
    ("Immunization", "date"),
    ("List", "date"),
    ("Media", "created"),
    ("MedicationAdministration", "effective-time"),
    ("MedicationDispense", "whenhandedover"),
    ("MedicationRequest", "authoredon"),
    ("MedicationStatement", "effective"),
    ("Observation", "date"),
    ("Procedure", "date"),
    ("QuestionnaireResponse", "authored"),
    ("RiskAssessment", "date"),
    ("ServiceRequest", "authored"),
    ("Specimen", "collected"),
];

type Parameters = Vec<(String, String)>;
type Named = (ResourceType, String);

pub(super) async fn everything(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Result<Response, Outcome> {
    let format = Format::of(&headers, &parameters)?;
    let patient: ResourceType = "Patient".parse().map_err(|_| Outcome::unknown_type("Patient"))?;
    if !is_id(&id) {
        return Err(missing(patient));
    }
    let wanted = Wanted::read(&parameters)?;
    let path = format!("Patient/{id}/$everything");
    let signed_for = format!("{path}?{}", query(&wanted.applied));
    let place = match &wanted.page {
        None => None,
        Some(text) => Some(Place::verify(text, &app.page_key(&principal), &signed_for).ok_or_else(|| {
            Outcome::invalid("`_page` was not made by this server for you and this request: start again without it")
        })?),
    };
    let snapshot = match &place {
        Some(place) => Some(place.snapshot),
        None => app.engine.session(&principal, None).await?.snapshot(),
    };
    let session = app.engine.session(&principal, snapshot).await?;
    if read::current_text(&app, &principal, patient, &id).await?.is_none() && place.is_none() {
        return Err(read::absent(&session, patient, &id).await?);
    }

    let offset = place.as_ref().map_or(0, |place| place.offset);
    let found = find(&app, &session, &wanted, &id, offset).await?;
    let base = base(&app, &headers);
    let link = |page: Option<&str>| {
        let mut parameters = wanted.applied.clone();
        parameters.extend(page.map(|page| (PAGE.to_owned(), page.to_owned())));
        let query = query(&parameters);
        if query.is_empty() { format!("{base}/{path}") } else { format!("{base}/{path}?{query}") }
    };
    let mut links = vec![json!({ "relation": "self", "url": link(None) })];
    if let (Some(offset), Some(snapshot)) = (found.next, snapshot) {
        let next = Place { snapshot, offset, after_id: None };
        links
            .push(json!({ "relation": "next", "url": link(Some(&next.sign(&app.page_key(&principal), &signed_for))) }));
    }
    let answer = format.answer(StatusCode::OK, written(&base, found.total, &links, &found.page));
    Ok(Answered::mark(answer, found.page.len()))
}

fn query(parameters: &[(String, String)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
}

/// What is asked for.
#[derive(Debug, Default)]
struct Wanted {
    start: Option<String>,
    end: Option<String>,
    since: Option<String>,
    types: Option<BTreeSet<ResourceType>>,
    count: Option<usize>,
    page: Option<String>,
    applied: Parameters,
}

impl Wanted {
    fn read(parameters: &[(String, String)]) -> Result<Self, Outcome> {
        let mut wanted = Self::default();
        for (name, value) in parameters {
            // A `+` that was not encoded has become a blank.
            let time = || {
                let text = value.replace(' ', "+");
                let exists = temporal::parse(&text).is_some();
                exists.then_some(text).ok_or_else(|| {
                    Outcome::new(StatusCode::BAD_REQUEST, "value", format!("`{name}` is no time that exists"))
                })
            };
            match name.as_str() {
                "_format" | "_pretty" => continue,
                PAGE => {
                    wanted.page = Some(value.clone());
                    continue;
                }
                "start" => wanted.start = Some(time()?),
                "end" => wanted.end = Some(time()?),
                "_since" => wanted.since = Some(time()?),
                "_type" => {
                    let types = wanted.types.get_or_insert_default();
                    for name in value.split(',').map(str::trim) {
                        types.insert(name.parse().map_err(|_| Outcome::unknown_type(name))?);
                    }
                }
                "_count" => match value.parse::<usize>() {
                    Ok(count) if count > 0 => wanted.count = Some(count.min(MAX_COUNT)),
                    _ => {
                        return Err(Outcome::new(
                            StatusCode::BAD_REQUEST,
                            "value",
                            "`_count` is not a whole number from 1",
                        ));
                    }
                },
                other => {
                    let other: String = other.chars().take(64).collect();
                    let message = format!(
                        "$everything has no parameter `{other}` here: it takes start, end, _since, _type and _count"
                    );
                    return Err(Outcome::new(StatusCode::BAD_REQUEST, "not-supported", message));
                }
            }
            wanted.applied.push((name.clone(), value.clone()));
        }
        Ok(wanted)
    }

    fn takes(&self, resource: ResourceType) -> bool {
        self.types.as_ref().is_none_or(|types| types.contains(&resource))
    }
}

/// A page of the record.
struct Found {
    total: usize,
    page: Vec<(ResourceType, Stored, &'static str)>,
    next: Option<usize>,
}

async fn find(app: &App, session: &Session, wanted: &Wanted, id: &str, offset: usize) -> Result<Found, Outcome> {
    let mut frames: BTreeMap<ResourceType, DataFrame> = BTreeMap::new();
    let mut of_type: Vec<ResourceType> = tables::all(&app.engine, session).await?;
    // The patient first.
    of_type.sort_by_key(|resource| (resource.name() != "Patient", resource.name()));
    let mut members: Vec<Named> = Vec::new();
    let mut everyone: Vec<Named> = Vec::new();
    for resource in of_type {
        let Some(table) = frame(session, &current(resource)).await? else { continue };
        let schema = table.schema().inner().clone();
        frames.insert(resource, table.clone());
        let Some(in_it) = in_compartment(resource, id, &schema) else { continue };
        let whole = table.filter(in_it).map_err(unplanned)?;
        everyone.extend(ids(session, whole.clone(), resource).await?);
        if wanted.takes(resource) {
            let narrowed = narrowed(whole, resource, wanted, Schemas::from([(resource, schema)]))?;
            members.extend(ids(session, narrowed, resource).await?);
        }
    }
    members.sort_by(|(a, left), (b, right)| {
        (a.name() != "Patient", a.name(), left).cmp(&(b.name() != "Patient", b.name(), right))
    });
    let Some(count) = wanted.count else {
        let mut page = resources(session, &frames, &members, "match").await?;
        let others = referred(session, &frames, wanted, &page, &everyone).await?;
        page.extend(resources(session, &frames, &others, "include").await?);
        return Ok(Found { total: members.len(), page, next: None });
    };
    let end = offset + count;
    let taken: Vec<Named> = members.iter().skip(offset).take(count).cloned().collect();
    let mut page = resources(session, &frames, &taken, "match").await?;
    // What is referred to is known once all members are; it comes on the last pages.
    let mut next = (end < members.len()).then_some(end);
    if end >= members.len() {
        let all = resources(session, &frames, &members, "match").await?;
        let others = referred(session, &frames, wanted, &all, &everyone).await?;
        let skipped = offset.saturating_sub(members.len());
        let left: Vec<Named> = others.iter().skip(skipped).take(count - taken.len()).cloned().collect();
        page.extend(resources(session, &frames, &left, "include").await?);
        next = (end < members.len() + others.len()).then_some(end);
    }
    Ok(Found { total: members.len(), page, next })
}

/// Narrows a type's part of the compartment to what is asked for.
fn narrowed(frame: DataFrame, resource: ResourceType, wanted: &Wanted, schemas: Schemas) -> Result<DataFrame, Outcome> {
    let filter = |parameters: &[(&str, String)]| {
        let parameters: Parameters =
            parameters.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let request = Request {
            parameters: &parameters,
            handling: Handling::Strict,
            now: Utc::now(),
            base: None,
            types: &[],
            codes: None,
        };
        compile(resource, request, &schemas).map(|search| search.criteria.filter).map_err(Outcome::from)
    };
    let mut frame = frame;
    if let Some(since) = &wanted.since
        && let Some(condition) = filter(&[("_lastUpdated", format!("ge{since}"))])?
    {
        frame = frame.filter(condition).map_err(unplanned)?;
    }
    let code = CARE_DATES.iter().find(|(name, _)| *name == resource.name()).map(|(_, code)| *code);
    let Some(code) = code.filter(|code| search_parameter(resource, code).is_some()) else { return Ok(frame) };
    let mut bounds = Vec::new();
    bounds.extend(wanted.start.as_ref().map(|start| (code, format!("ge{start}"))));
    bounds.extend(wanted.end.as_ref().map(|end| (code, format!("le{end}"))));
    if bounds.is_empty() {
        return Ok(frame);
    }
    let missing = format!("{code}:missing");
    let undated = filter(&[(missing.as_str(), "true".to_owned())])?;
    let inside = filter(&bounds)?;
    match (inside, undated) {
        (Some(inside), Some(undated)) => Ok(frame.filter(inside.or(undated)).map_err(unplanned)?),
        _ => Ok(frame),
    }
}

async fn ids(session: &Session, frame: DataFrame, resource: ResourceType) -> Result<Vec<Named>, mavis_sql::Error> {
    use futures::TryStreamExt;
    let frame = frame.select(vec![ident("id")]).map_err(unplanned)?;
    let batches: Vec<_> = session.run(frame, None).await?.batches.try_collect().await?;
    Ok(batches.iter().flat_map(|batch| texts(batch, 0)).map(|id| (resource, id)).collect())
}

/// The resources of these names, in their order.
async fn resources(
    session: &Session,
    frames: &BTreeMap<ResourceType, DataFrame>,
    names: &[Named],
    mode: &'static str,
) -> Result<Vec<(ResourceType, Stored, &'static str)>, mavis_sql::Error> {
    let mut by_type: BTreeMap<ResourceType, Vec<&str>> = BTreeMap::new();
    for (resource, id) in names {
        by_type.entry(*resource).or_default().push(id);
    }
    let mut found: BTreeMap<Named, Stored> = BTreeMap::new();
    for (resource, ids) in by_type {
        let Some(table) = frames.get(&resource) else { continue };
        for ids in ids.chunks(CHUNK) {
            let wanted = ident("id").in_list(ids.iter().map(|id| lit(*id)).collect(), false);
            let frame = table.clone().filter(wanted).and_then(|frame| frame.select(columns())).map_err(unplanned)?;
            for stored in fetch(session, frame).await? {
                found.insert((resource, stored.id.clone()), stored);
            }
        }
    }
    Ok(names.iter().filter_map(|name| Some((name.0, found.remove(name)?, mode))).collect())
}

/// What the resources refer to and is in no patient's compartment here, as far as it is there.
async fn referred(
    session: &Session,
    frames: &BTreeMap<ResourceType, DataFrame>,
    wanted: &Wanted,
    page: &[(ResourceType, Stored, &'static str)],
    everyone: &[Named],
) -> Result<Vec<Named>, Outcome> {
    let members: BTreeSet<&Named> = everyone.iter().collect();
    let mut others: BTreeMap<ResourceType, BTreeSet<String>> = BTreeMap::new();
    for text in page.iter().filter_map(|(_, stored, _)| stored.json.as_ref()) {
        let Ok(value) = json::parse(text.as_bytes()) else { continue };
        bundle::for_each_reference(&value, &mut |reference| {
            let Some((name, id)) = bundle::relative_reference(reference) else { return };
            let Ok(resource) = name.parse::<ResourceType>() else { return };
            let named = (resource, id.to_owned());
            if name != "Patient" && wanted.takes(resource) && !members.contains(&named) {
                others.entry(resource).or_default().insert(named.1);
            }
        });
    }
    let mut there = Vec::new();
    for (resource, wanted_ids) in others {
        let Some(table) = frames.get(&resource) else { continue };
        let wanted_ids: Vec<String> = wanted_ids.into_iter().collect();
        for some in wanted_ids.chunks(CHUNK) {
            let condition = ident("id").in_list(some.iter().map(|id| lit(id.as_str())).collect(), false);
            let mut frame = table.clone().filter(condition).map_err(unplanned)?;
            // Records of other patients stay theirs.
            frame = frame.filter(ident("__patient").is_null()).map_err(unplanned)?;
            if let Some(since) = wanted.since.as_deref().and_then(temporal::parse) {
                let since =
                    datafusion::common::ScalarValue::TimestampMicrosecond(Some(since.start), Some("UTC".into()));
                frame = frame.filter(ident("__last_updated").gt_eq(lit(since))).map_err(unplanned)?;
            }
            there.extend(ids(session, frame, resource).await?);
        }
    }
    there.sort_by(|(a, left), (b, right)| (a.name(), left).cmp(&(b.name(), right)));
    Ok(there)
}

fn written(base: &str, total: usize, links: &[Value], page: &[(ResourceType, Stored, &'static str)]) -> String {
    let mut out = format!(
        "{{\"resourceType\":\"Bundle\",\"type\":\"searchset\",\"total\":{total},\"link\":{}",
        Value::from(links.to_vec())
    );
    let mut separator = ",\"entry\":[";
    for (resource, stored, mode) in page {
        let Some(text) = &stored.json else { continue };
        let url = json!(format!("{base}/{resource}/{}", stored.id));
        out.push_str(separator);
        out.push_str(&format!("{{\"fullUrl\":{url},\"resource\":{text},\"search\":{{\"mode\":\"{mode}\"}}}}"));
        separator = ",";
    }
    out.push_str(if separator == "," { "]}" } else { "}" });
    out
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn every_date_of_care_is_a_date_parameter_of_its_type() {
        for (name, code) in CARE_DATES {
            let parameter = search_parameter(name.parse().unwrap(), code).unwrap_or_else(|| panic!("{name} {code}"));
            assert_eq!(parameter.kind, mavis_fhir::definitions::ParameterKind::Date, "{name} {code}");
        }
    }

    #[rstest]
    #[case("start", "2024-13-45")]
    #[case("_count", "0")]
    #[case("_type", "Nonsense")]
    #[case("_elements", "id")]
    fn what_cannot_be_applied_is_refused(#[case] name: &str, #[case] value: &str) {
        assert!(Wanted::read(&[(name.to_owned(), value.to_owned())]).is_err());
    }
}
