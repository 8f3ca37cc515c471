//! One row, now or as it was.

use arrow::{
    array::{Array, AsArray, BooleanArray, RecordBatch},
    compute::{SortColumn, SortOptions, filter_record_batch, lexsort_to_indices, take_record_batch},
    datatypes::{Int64Type, TimestampMicrosecondType},
};
use axum::{
    Extension,
    extract::{OriginalUri, Path, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use chrono::{DateTime, Utc};
use mavis_sql::When;
use mavis_types::{Principal, TableName, Zone};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    answer::{self, Said, objects},
    asked::{self, One},
    key,
    read::{Read, Target},
};
use crate::{
    App,
    auth::Door,
    http::{ApiError, ErrorBody, extract::Arguments, sql::Format},
};

/// Current resources, and their versions.
const CURRENT: &str = "r4";
const HISTORY: &str = "r4_history";

/// The states of a row, newest first; here for the description of the answer only.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct RowStates {
    versions: Vec<RowVersion>,
    sees_back_to: SeesBackTo,
}

/// A state that a row was in.
#[derive(Debug, Serialize, ToSchema)]
struct RowVersion {
    /// The version that brought it: of a FHIR resource its own, of other rows the table's.
    version: i64,
    /// Since when.
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<DateTime<Utc>>,
    /// Whether there was no such row (any more).
    deleted: bool,
    #[schema(value_type = Option<Object>)]
    row: Option<Value>,
}

/// Before this nothing can be said of the row.
#[derive(Debug, Serialize, ToSchema)]
struct SeesBackTo {
    version: i64,
    #[schema(value_type = Option<String>, format = DateTime)]
    time: Option<DateTime<Utc>>,
}

fn missing(name: &TableName) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "no_such_row", format!("table `{name}` has no row with this key"))
}

/// One row by its key
///
/// A key of several columns has its values parted by commas, each percent-encoded. With `versions` the answer is JSON; states of
/// FHIR resources are those of their history (and have its columns), of other rows those that the table's versions tell.
#[utoipa::path(
    get,
    path = "/api/v1/tables/{zone}/{schema}/{table}/rows/{key}",
    tag = "lake",
    params(
        ("zone" = String, Path), ("schema" = String, Path), ("table" = String, Path), ("key" = String, Path), One
    ),
    responses(
        (status = 200, body = RowStates, description = "The row as `{\"version\": 3, \"row\": {...}}`; its states with `versions`"),
        (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody, description = "There is no such row, or no such table, or it may not be read"),
        (status = 409, body = ErrorBody, description = "The table has no key, several rows have this one, or the table names a file that \
                                                        its owner changed since"),
    )
)]
pub(in crate::http) async fn one(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path(place): Path<(String, String, String, String)>,
    Arguments(one): Arguments<One>,
    headers: HeaderMap,
    OriginalUri(uri): OriginalUri,
) -> Result<Response, ApiError> {
    let (zone, schema, table, _) = place;
    let name = asked::table((zone, schema, table))?;
    let format = answer::format(one.format.clone(), &headers)?;
    let at = one.at.as_deref().map(asked::time).transpose()?;
    let most = one.versions.map(|versions| asked::limit(Some(versions), "versions")).transpose()?;
    if most.is_some() && at.is_some() {
        return Err(ApiError::invalid("ask for `versions` or for `at`, not for both"));
    }
    if most.is_some() && format != Format::Json {
        return Err(ApiError::invalid("`versions` are answered as JSON only"));
    }
    let session = app.engine.session(&principal, None).await?;
    let is_resource = name.zone == Zone::Fhir && name.schema == CURRENT;
    if is_resource && (most.is_some() || at.is_some()) {
        let history = TableName::new(Zone::Fhir, HISTORY, name.table.clone());
        // Leave to read the versions does not follow from leave to read the resources.
        Target::open(&session, &name, When::Seen).await?;
        let target = Target::open(&session, &history, When::Seen).await?;
        let values = key::of_path(uri.path(), &["id".to_owned()])?;
        let keys = key::batch(&["id".to_owned()], &[values.into_iter().map(Some).collect()])?;
        let columns = one.columns.as_deref().map(key::names).unwrap_or_default();
        let read = target.all_rows(&keys, &columns_of_history(&columns)).await?;
        app.reads.note(&principal, &history, Door::Http, read.rows.num_rows()).await;
        let versions = newest_first(&read.rows)?;
        return match (most, at) {
            (Some(most), _) => resource_states(&history, &versions, most, columns.len()),
            (None, Some(at)) => resource_at(&name, &versions, at, columns.len(), format).await,
            (None, None) => Err(missing(&name)),
        };
    }
    let target = Target::open(&session, &name, at.map_or(When::Seen, When::At)).await?;
    let table = key::shown(&session, app.catalog.table(&name).await?).await?;
    let by = key::columns(&table, one.by.as_deref())?;
    let values = key::of_path(uri.path(), &by)?;
    let keys = key::batch(&by, &[values.into_iter().map(Some).collect()])?;
    let columns = one.columns.as_deref().map(key::names).unwrap_or_default();
    if let Some(most) = most {
        return states(&app, &principal, &target, &keys, &columns, most).await;
    }
    let Read { rows, version } = target.rows(&keys, &columns).await?;
    app.reads.note(&principal, &name, Door::Http, rows.num_rows()).await;
    match rows.num_rows() {
        0 => Err(missing(&name)),
        1 => answer::answer(format, rows, version.map(Said::version).into_iter().collect(), true).await,
        several => Err(ApiError::new(
            StatusCode::CONFLICT,
            "several_rows",
            format!("{several} rows of `{name}` have this key: ask for them with a POST of keys, or with SQL"),
        )),
    }
}

/// The states that Delta's versions tell of.
async fn states(
    app: &App,
    principal: &Principal,
    target: &Target<'_>,
    keys: &RecordBatch,
    columns: &[String],
    most: usize,
) -> Result<Response, ApiError> {
    let refused = || {
        let message = format!("versions of rows of `{}` cannot be read by key: ask with VERSION AS OF", target.name);
        ApiError::new(StatusCode::CONFLICT, "no_versions", message)
    };
    // Says what is wrong with a column or a key, in the words of a plain read.
    target.rows(keys, columns).await?;
    let direct = target.direct.as_ref().ok_or_else(refused)?;
    let schema = direct.schema().await?.ok_or_else(refused)?;
    let wanted: Vec<&str> = if columns.is_empty() {
        schema.fields().iter().map(|field| field.name().as_str()).collect()
    } else {
        columns.iter().map(String::as_str).collect()
    };
    let past = direct.past(keys, &wanted, most).await?.ok_or_else(refused)?;
    app.reads.note(principal, target.name, Door::Http, past.states.len()).await;
    if past.states.is_empty() {
        return Err(missing(target.name));
    }
    let mut texts = Vec::with_capacity(past.states.len());
    for state in &past.states {
        let row = match &state.row {
            Some(row) => first_object(row)?,
            None => "null".to_owned(),
        };
        texts.push(version_text(state.version, state.at, state.row.is_none(), &row));
    }
    let (version, time) = past.sees_back_to;
    Ok(written(SeesBackTo { version, time }, &texts))
}

fn version_text(version: i64, since: Option<DateTime<Utc>>, deleted: bool, row: &str) -> String {
    let since = json!(since.map(|since| since.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)));
    format!("{{\"version\":{version},\"since\":{since},\"deleted\":{deleted},\"row\":{row}}}")
}

fn written(back: SeesBackTo, versions: &[String]) -> Response {
    let said = vec![Said { member: "sees_back_to", header: "mavis-sees-back-to", value: json!(back) }];
    answer::json(said, "versions", &format!("[{}]", versions.join(",")))
}

/// The first row as an object.
fn first_object(rows: &RecordBatch) -> Result<String, ApiError> {
    let list = objects(&rows.slice(0, rows.num_rows().min(1)))?;
    Ok(list.trim_start_matches('[').trim_end_matches(']').trim_end().to_owned())
}

/// What the versions of a resource are told by, after the columns that were asked for; `columns`: none for all of history's.
fn columns_of_history(columns: &[String]) -> Vec<String> {
    if columns.is_empty() {
        return Vec::new();
    }
    let own = ["__version", "__last_updated", "resource"];
    columns.iter().cloned().chain(own.map(str::to_owned).into_iter().filter(|own| !columns.contains(own))).collect()
}

fn shape() -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "a history has an unknown shape")
}

fn newest_first(rows: &RecordBatch) -> Result<RecordBatch, ApiError> {
    let versions = rows.column_by_name("__version").ok_or_else(shape)?;
    let order = SortColumn {
        values: std::sync::Arc::clone(versions),
        options: Some(SortOptions { descending: true, nulls_first: false }),
    };
    lexsort_to_indices(&[order], None)
        .and_then(|indices| take_record_batch(rows, &indices))
        .map_err(|error| ApiError::internal(&error))
}

/// Version, time, and whether the version says that the resource was deleted.
type Mark = (i64, Option<DateTime<Utc>>, bool);

/// What each row says of its version.
fn marks(rows: &RecordBatch) -> Option<Vec<Mark>> {
    let versions = rows.column_by_name("__version")?.as_primitive_opt::<Int64Type>()?;
    let times = rows.column_by_name("__last_updated")?.as_primitive_opt::<TimestampMicrosecondType>()?;
    let texts = rows.column_by_name("resource")?;
    let mark = |row| (versions.value(row), DateTime::from_timestamp_micros(times.value(row)), texts.is_null(row));
    Some((0..rows.num_rows()).map(mark).collect())
}

/// The columns that were asked for; all where none were.
fn shown(rows: &RecordBatch, columns: usize) -> Result<RecordBatch, ApiError> {
    let count = if columns == 0 { rows.num_columns() } else { columns };
    rows.project(&(0..count).collect::<Vec<_>>()).map_err(|error| ApiError::internal(&error))
}

fn resource_states(name: &TableName, rows: &RecordBatch, most: usize, columns: usize) -> Result<Response, ApiError> {
    let marks = marks(rows).ok_or_else(shape)?;
    let Some((oldest, since, _)) = marks.last().copied() else { return Err(missing(name)) };
    let shown = shown(rows, columns)?;
    let mut texts = Vec::new();
    for (row, (version, since, deleted)) in marks.iter().enumerate().take(most) {
        texts.push(version_text(*version, *since, *deleted, &first_object(&shown.slice(row, 1))?));
    }
    // Every version is kept.
    Ok(written(SeesBackTo { version: oldest, time: since }, &texts))
}

async fn resource_at(
    name: &TableName,
    rows: &RecordBatch,
    at: DateTime<Utc>,
    columns: usize,
    format: Format,
) -> Result<Response, ApiError> {
    let marks = marks(rows).ok_or_else(shape)?;
    // Newest first: the first that was there.
    let found = marks.iter().position(|(_, since, _)| since.is_some_and(|since| since <= at));
    let Some((place, (version, _, false))) = found.and_then(|place| Some((place, *marks.get(place)?))) else {
        return Err(missing(name));
    };
    let only: BooleanArray = (0..rows.num_rows()).map(|row| Some(row == place)).collect();
    let row = filter_record_batch(rows, &only).map_err(|error| ApiError::internal(&error))?;
    answer::answer(format, shown(&row, columns)?, vec![Said::version(version)], true).await
}
