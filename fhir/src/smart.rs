//! What SMART scopes show of a type's resources (SMART App Launch 2, "Scopes for requesting FHIR resources").
//!
//! A scope of a patient shows the resources in the patient's compartment, by all parameters of its definition; a scope with
//! `?category=...` those that such a search finds; both together those that are both. Scopes add up. Types that are in no
//! patient's compartment (Organization) are shown to scopes of a patient that name the type, to read and to search.
//!
//! A current table has columns, so that the conditions are plain filters ([`rows`]). A history and a resource that is about to
//! be written have only their JSON: it is made into columns, and the same filters are asked ([`holds`]).

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, SchemaRef},
};
use chrono::{DateTime, Utc};
use datafusion::{
    common::{DFSchema, Result, ScalarValue, exec_err},
    logical_expr::{
        ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
        execution_props::ExecutionProps, lit, physical_planning_context::PhysicalPlanningContext,
    },
    physical_expr::create_physical_expr,
    prelude::ident,
};
use mavis_types::{Smart, SmartContext, SmartScope};

use crate::{
    ResourceType,
    bundle::Condition,
    json,
    search::{Handling, Request, Schemas, compile, in_compartment},
    shape::{self, Encoder, Meta},
};

/// Which rows of a table of resources are shown.
#[derive(Debug, Clone, PartialEq)]
pub enum Rows {
    Nothing,
    All,
    /// Those for which a condition over the table's own columns holds.
    Those(Expr),
}

/// Which rows of a type's table the scopes show that allow one of some interactions (letters of `cruds`). `schema`: of a
/// current table, or of a history, which has no column `__patient`; a deletion in it is shown by scopes without conditions
/// only, for it says of nobody whose it was.
#[must_use]
pub fn rows(smart: &Smart, resource: ResourceType, letters: &str, schema: &SchemaRef) -> Rows {
    let scopes: Vec<&SmartScope> = smart.about(resource.name(), letters).collect();
    if scopes.iter().any(|scope| scope.context != SmartContext::Patient && scope.query.is_none()) {
        return Rows::All;
    }
    if scopes.is_empty() {
        return Rows::Nothing;
    }
    if schema.field_with_name("__patient").is_err() {
        let function = ScalarUDF::from(Shown::new(smart.only(letters), resource, letters));
        return Rows::Those(function.call(vec![ident("id"), ident("resource")]));
    }
    let reads = letters.chars().all(|letter| matches!(letter, 'r' | 's'));
    let conditions = scopes.into_iter().filter_map(|scope| condition(scope, smart, resource, schema, reads));
    conditions.reduce(Expr::or).map_or(Rows::Nothing, Rows::Those)
}

/// The condition of a scope that has one; `None` where nothing meets it, or where it cannot be understood. `reads`: nothing is
/// written.
fn condition(
    scope: &SmartScope,
    smart: &Smart,
    resource: ResourceType,
    schema: &SchemaRef,
    reads: bool,
) -> Option<Expr> {
    let of_patient = match scope.context {
        SmartContext::Patient => {
            let within = in_compartment(resource, smart.patient.as_deref()?, schema);
            // What is nobody's is there for whoever asks for it by name.
            Some(within.or_else(|| (reads && scope.resource.is_some()).then(|| lit(true)))?)
        }
        SmartContext::User | SmartContext::System => None,
    };
    let found = match &scope.query {
        Some(query) => Some(search(query, resource, schema)?),
        None => None,
    };
    match (of_patient, found) {
        (Some(one), Some(other)) => Some(one.and(other)),
        (one, other) => one.or(other),
    }
}

/// The filter of a scope's search parameters. Not one of them may be left out, and none may need another table.
fn search(query: &str, resource: ResourceType, schema: &SchemaRef) -> Option<Expr> {
    let Condition { criteria: parameters, .. } = Condition::parse(&format!("{resource}?{query}"))?;
    // What is about the answer restricts nothing, and a scope that says nothing else would show everything.
    if parameters.iter().any(|(name, value)| value.is_empty() || is_about_answers(name)) {
        return None;
    }
    let request = Request {
        parameters: &parameters,
        handling: Handling::Strict,
        now: DateTime::<Utc>::UNIX_EPOCH,
        base: None,
        types: &[],
        codes: None,
    };
    let schemas = Schemas::from([(resource, Arc::clone(schema))]);
    let search = compile(resource, request, &schemas).ok()?;
    search.criteria.filter.filter(|_| search.criteria.links.is_empty() && search.ignored.is_empty())
}

fn is_about_answers(name: &str) -> bool {
    name.starts_with('_')
        && !["_id", "_lastUpdated", "_tag", "_profile", "_security", "_source", "_language"]
            .iter()
            .any(|known| name.split(':').next() == Some(known))
}

/// Whether the scopes that allow one of some interactions are about each of these resources: pairs of id and JSON. What
/// cannot be read is not.
///
/// # Errors
/// When a condition cannot be computed.
pub fn holds(smart: &Smart, resource: ResourceType, letters: &str, resources: &[(&str, &str)]) -> Result<Vec<bool>> {
    let mut batch = Encoder::new(resource, Some(shape::base_schema(resource)));
    let mut read = Vec::with_capacity(resources.len());
    for (id, text) in resources {
        let value = json::parse(text.as_bytes()).ok();
        if let Some(value) = &value {
            let meta = Meta { id, version: 0, last_updated: DateTime::UNIX_EPOCH, source: "", run: "", hash: [0; 16] };
            batch.push(value, text, &meta);
        }
        read.push(value.is_some());
    }
    let batch = batch.finish()?;
    let shown = match rows(smart, resource, letters, &batch.schema()) {
        Rows::All => return Ok(read),
        Rows::Nothing => return Ok(vec![false; resources.len()]),
        Rows::Those(condition) => ask(&condition, &batch)?,
    };
    let mut shown = shown.iter();
    Ok(read.into_iter().map(|read| read && shown.next().flatten().unwrap_or(false)).collect())
}

fn ask(condition: &Expr, batch: &RecordBatch) -> Result<BooleanArray> {
    let schema = DFSchema::try_from(batch.schema().as_ref().clone())?;
    let condition =
        create_physical_expr(condition, &schema, &ExecutionProps::new(), &PhysicalPlanningContext::default())?;
    let values = condition.evaluate(batch)?.into_array(batch.num_rows())?;
    match values.as_boolean_opt() {
        Some(values) => Ok(values.clone()),
        None => exec_err!("a condition of a scope is no condition"),
    }
}

/// [`holds`] as a function over `id` and `resource`.
#[derive(Debug, Clone)]
struct Shown {
    smart: Arc<Smart>,
    resource: ResourceType,
    letters: String,
    signature: Signature,
}

impl Shown {
    fn new(smart: Smart, resource: ResourceType, letters: &str) -> Self {
        let signature = Signature::any(2, Volatility::Immutable);
        Self { smart: Arc::new(smart), resource, letters: letters.to_owned(), signature }
    }
}

impl PartialEq for Shown {
    fn eq(&self, other: &Self) -> bool {
        self.resource == other.resource && self.letters == other.letters && self.smart == other.smart
    }
}

impl Eq for Shown {}

impl Hash for Shown {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.resource.hash(state);
        self.smart.to_text().hash(state);
        self.smart.patient.hash(state);
    }
}

impl ScalarUDFImpl for Shown {
    fn name(&self) -> &str {
        "smart_shown"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let texts = |index: usize| -> Result<ArrayRef> {
            let Some(column) = args.args.get(index) else { return exec_err!("a column is missing") };
            Ok(cast(&column.to_array(rows)?, &DataType::Utf8)?)
        };
        let (ids, resources) = (texts(0)?, texts(1)?);
        let (ids, resources) = (ids.as_string::<i32>(), resources.as_string::<i32>());
        let there: Vec<usize> = (0..rows).filter(|row| ids.is_valid(*row) && resources.is_valid(*row)).collect();
        let pairs: Vec<(&str, &str)> = there.iter().map(|row| (ids.value(*row), resources.value(*row))).collect();
        let shown = holds(&self.smart, self.resource, &self.letters, &pairs)?;
        let mut all = vec![false; rows];
        for (row, shown) in there.into_iter().zip(shown) {
            if let Some(place) = all.get_mut(row) {
                *place = shown;
            }
        }
        if rows == 1 && args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_))) {
            return Ok(ColumnarValue::Scalar(ScalarValue::Boolean(all.first().copied())));
        }
        Ok(ColumnarValue::Array(Arc::new(BooleanArray::from(all))))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const LAB: &str = r#"{"resourceType":"Observation","status":"final","code":{"text":"x"},
        "category":[{"coding":[{"system":"http://c","code":"laboratory"}]}],"subject":{"reference":"Patient/a"}}"#;
    const VITAL: &str = r#"{"resourceType":"Observation","status":"final","code":{"text":"x"},
        "category":[{"coding":[{"system":"http://c","code":"vital-signs"}]}],"subject":{"reference":"Patient/b"},
        "performer":[{"reference":"Patient/a"}]}"#;
    const BARE: &str = r#"{"resourceType":"Observation","status":"final","code":{"text":"x"}}"#;

    fn observations(scopes: &str, patient: &str) -> Vec<bool> {
        let smart = Smart::parse(scopes, patient).unwrap();
        let all = [("1", LAB), ("2", VITAL), ("3", BARE), ("4", "no json")];
        let shown = holds(&smart, "Observation".parse().unwrap(), "rs", &all).unwrap();
        // the same of a history
        let ids: ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["1", "2", "3", "4", "5"]));
        let texts: ArrayRef =
            Arc::new(arrow::array::StringArray::from(vec![Some(LAB), Some(VITAL), Some(BARE), Some("no json"), None]));
        let history = RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("resource", texts, true)]).unwrap();
        match rows(&smart, "Observation".parse().unwrap(), "rs", &history.schema()) {
            Rows::All => {}
            Rows::Nothing => assert_eq!(shown, [false; 4]),
            Rows::Those(condition) => {
                let asked: Vec<bool> = ask(&condition, &history).unwrap().iter().map(|one| one == Some(true)).collect();
                assert_eq!(asked[..4], shown[..]);
                assert!(!asked[4], "a deletion says of nobody whose it was");
            }
        }
        shown
    }

    #[rstest]
    #[case("system/*.rs", "", [true, true, true])]
    #[case("user/Observation.r", "", [true, true, true])]
    #[case("system/Observation.cud", "", [false, false, false])]
    #[case("system/Patient.rs", "", [false, false, false])]
    #[case("patient/*.rs", "a", [true, true, false])]
    #[case("patient/*.rs", "b", [false, true, false])]
    #[case("patient/*.rs", "c", [false, false, false])]
    #[case("system/Observation.rs?category=laboratory", "", [true, false, false])]
    #[case("system/Observation.rs?category=http://c|laboratory", "", [true, false, false])]
    #[case("system/Observation.rs?category=http%3A%2F%2Fc%7Claboratory", "", [true, false, false])]
    #[case("system/Observation.rs?category=http://other|laboratory", "", [false, false, false])]
    #[case("patient/Observation.rs?category=laboratory", "b", [false, false, false])]
    #[case("patient/Observation.rs?category=vital-signs", "a", [false, true, false])]
    #[case("patient/Observation.rs?category=laboratory system/Observation.rs?category=vital-signs", "a", [true, true, false])]
    #[case("system/Observation.rs?category=laboratory&status=amended", "", [false, false, false])]
    #[case("system/Observation.rs?category=laboratory&nonsense=1", "", [false, false, false])]
    #[case("system/Observation.rs?_count=5", "", [false, false, false])]
    #[case("system/Observation.rs?_sort=date", "", [false, false, false])]
    #[case("system/Observation.rs?_include=*", "", [false, false, false])]
    #[case("system/Observation.rs?category=", "", [false, false, false])]
    #[case("system/Observation.rs?subject:Patient.name=x", "", [false, false, false])]
    #[case("system/Observation.rs?code:in=http://x", "", [false, false, false])]
    #[case("system/*.rs?category=laboratory", "", [true, false, false])]
    fn scopes_show_what_they_say_and_nothing_when_they_cannot_be_understood(
        #[case] scopes: &str,
        #[case] patient: &str,
        #[case] shown: [bool; 3],
    ) {
        assert_eq!(observations(scopes, patient)[..3], shown);
        assert!(!observations(scopes, patient)[3], "what cannot be read is not shown");
    }

    #[test]
    fn a_patient_is_in_the_own_compartment_and_other_types_in_none() {
        let smart = Smart::parse("patient/*.rs", "a").unwrap();
        let patient = r#"{"resourceType":"Patient"}"#;
        let shown = holds(&smart, "Patient".parse().unwrap(), "r", &[("a", patient), ("b", patient)]).unwrap();
        assert_eq!(shown, [true, false]);
        let organization: ResourceType = "Organization".parse().unwrap();
        let schema = shape::base_schema(organization);
        assert_eq!(rows(&smart, organization, "rs", &schema), Rows::Nothing);
        let named = Smart::parse("patient/Organization.cruds", "a").unwrap();
        let one = [("o", r#"{"resourceType":"Organization"}"#)];
        assert_eq!(holds(&named, organization, "rs", &one).unwrap(), [true]);
        assert_eq!(holds(&named, organization, "u", &one).unwrap(), [false], "it is nobody's to write");
    }
}
