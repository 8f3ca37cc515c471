use arrow::datatypes::SchemaRef;
use datafusion::{
    common::ScalarValue,
    logical_expr::{Expr, lit},
    prelude::ident,
};
use mavis_fhir::{ResourceType, search::in_compartments};

/// Which resources a view is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Only {
    /// Those in the compartments of these patients, by id; `None`: everybody's.
    pub patients: Option<Vec<String>>,
    /// Those changed then or later, in microseconds of the Unix epoch.
    pub changed_since: Option<i64>,
}

impl Only {
    /// The same as conditions on the columns of a type's table.
    pub(crate) fn conditions(&self, resource: ResourceType, schema: &SchemaRef) -> Vec<Expr> {
        let patients = self.patients.as_ref();
        // A type that is in no patient's compartment has nothing of theirs.
        let inside = patients.map(|ids| in_compartments(resource, ids, schema).unwrap_or_else(|| lit(false)));
        let since = self.changed_since.map(|since| {
            let at = ScalarValue::TimestampMicrosecond(Some(since), Some("UTC".into()));
            ident("__last_updated").gt_eq(lit(at))
        });
        inside.into_iter().chain(since).collect()
    }
}
