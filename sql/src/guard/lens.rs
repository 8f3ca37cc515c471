use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::{
    logical_expr::{Expr, lit},
    prelude::ident,
};
use mavis_fhir::{
    ResourceType,
    definitions::{self, root},
    smart::{self, Rows},
};
use mavis_types::Smart;

use super::{
    mask::Shown,
    policy::Policy,
    resource::{Cut, has_untold},
};

/// The column with the JSON of a resource.
const RESOURCE: &str = "resource";

/// A [`Policy`] over the columns that a table has: what a scan shows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lens {
    /// The columns that are there, by their places in the table; `None`: all of them.
    pub(super) places: Option<Vec<usize>>,
    /// Column to the expression over the table's own columns that is shown in its place.
    pub(super) masks: BTreeMap<String, Expr>,
    /// Only rows for which this holds are there.
    pub(super) rows: Option<Expr>,
    /// Columns of the table that are not there.
    pub(super) hidden: BTreeSet<String>,
}

impl Lens {
    /// `schema`: of the table as it is; `conditions`: the policy's, over its columns.
    pub(crate) fn new(policy: &Policy, schema: &SchemaRef, conditions: Vec<Expr>, key: &Arc<[u8; 32]>) -> Self {
        if policy.is_open() {
            return Self::default();
        }
        let mut lens = Self::default();
        let mut places = Vec::new();
        let (resource, untold) = (policy.resource(), policy.untold());
        for (place, field) in schema.fields().iter().enumerate() {
            let name = field.name();
            if !policy.has_column(name) {
                lens.hidden.insert(name.clone());
                continue;
            }
            places.push(place);
            let element = resource.and_then(|resource| definitions::element(root(resource), name));
            let of = element.map(|element| element.type_id);
            let shown = match policy.mask(name) {
                Some(mask) => Some(Shown::of(mask, name, key)),
                None if name == RESOURCE && policy.cuts_text() => Some(Shown::Resource(Arc::new(cut(policy, key)))),
                None if has_untold(field.data_type(), untold, of) => Some(Shown::Untold(untold, of)),
                None => None,
            };
            if let Some(shown) = shown {
                lens.masks.insert(name.clone(), shown.over(ident(name)));
            }
        }
        lens.places = Some(places);
        let mut rows = conditions;
        if policy.shut() {
            rows.push(lit(false));
        }
        rows.extend(policy.smart().map(|smart| let_through(smart, policy, schema)));
        lens.rows = rows.into_iter().reduce(Expr::and);
        lens
    }

    /// Whether the column's values are the table's own.
    pub(super) fn shows(&self, column: &str) -> bool {
        !self.masks.contains_key(column) && !self.hidden.contains(column)
    }

    /// Whether nothing of the table is hidden or changed.
    pub(super) fn is_open(&self) -> bool {
        self.places.is_none() && self.masks.is_empty() && self.rows.is_none()
    }

    /// The columns that are there.
    pub(super) fn schema(&self, schema: &SchemaRef) -> SchemaRef {
        match &self.places {
            None => Arc::clone(schema),
            Some(places) => {
                let fields = places.iter().map(|place| Arc::clone(&schema.fields()[*place]));
                let nullable = fields.map(|field| match self.masks.contains_key(field.name()) {
                    true => Arc::new(field.as_ref().clone().with_nullable(true)),
                    false => field,
                });
                Arc::new(Schema::new_with_metadata(nullable.collect::<Vec<_>>(), schema.metadata().clone()))
            }
        }
    }
}

fn cut(policy: &Policy, key: &Arc<[u8; 32]>) -> Cut {
    Cut {
        resource: policy.resource(),
        kept: policy.kept(),
        within: policy.within().map(Arc::clone),
        untold: policy.untold(),
        key: Arc::clone(key),
    }
}

/// The resources that some scope lets through. What a scope asks that cannot be told of a row lets none through.
fn let_through(smart: &Smart, policy: &Policy, schema: &SchemaRef) -> Expr {
    let Some(resource) = ResourceType::from_table(&policy.table().table) else { return lit(false) };
    match smart::rows(smart, resource, "rs", schema) {
        Rows::All => lit(true),
        Rows::Nothing => lit(false),
        Rows::Those(condition) => condition,
    }
}
