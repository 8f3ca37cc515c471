use std::{collections::BTreeMap, fmt, sync::Arc};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{DataFusionError, Result, ScalarValue},
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::{Expr, Operator, TableProviderFilterPushDown, TableType},
    physical_plan::{
        ExecutionPlan,
        stream::RecordBatchStreamAdapter,
        streaming::{PartitionStream, StreamingTableExec},
    },
};
use futures::TryStreamExt;
use mavis_catalog::Catalog;
use mavis_types::{Principal, TokenId};

use super::{Definition, Request};

/// A system table as one principal sees it; nothing is read before the query runs.
#[derive(Debug)]
pub(crate) struct SystemTable {
    definition: &'static Definition,
    catalog: Catalog,
    principal: Arc<Principal>,
    only_catalog: Option<String>,
    columns: SchemaRef,
}

impl SystemTable {
    pub(super) fn new(
        definition: &'static Definition,
        catalog: Catalog,
        principal: Arc<Principal>,
        only_catalog: Option<String>,
    ) -> Self {
        Self { definition, catalog, principal, only_catalog, columns: (definition.columns)() }
    }

    pub(crate) fn is_of(&self, principal: TokenId) -> bool {
        self.principal.token == principal
    }
}

#[async_trait]
impl TableProvider for SystemTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.columns)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let equals: BTreeMap<String, String> = filters.iter().filter_map(equality).collect();
        let request = Request {
            catalog: self.catalog.clone(),
            principal: Arc::clone(&self.principal),
            equals,
            likes: filters.iter().filter_map(likeness).collect(),
            only_catalog: self.only_catalog.clone(),
        };
        let part = Part { definition: self.definition, request, columns: Arc::clone(&self.columns) };
        let columns = Arc::clone(&self.columns);
        let exec = StreamingTableExec::try_new(columns, vec![Arc::new(part)], projection, [], false, limit)?;
        Ok(Arc::new(exec))
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let supported = filters.iter().map(|filter| {
            if equality(filter).is_some() || likeness(filter).is_some() {
                TableProviderFilterPushDown::Inexact
            } else {
                TableProviderFilterPushDown::Unsupported
            }
        });
        Ok(supported.collect())
    }
}

/// `column = 'text'`, or a number.
fn equality(filter: &Expr) -> Option<(String, String)> {
    let Expr::BinaryExpr(binary) = filter else { return None };
    if binary.op != Operator::Eq {
        return None;
    }
    let (column, literal) = match (binary.left.as_ref(), binary.right.as_ref()) {
        (Expr::Column(column), Expr::Literal(literal, _)) | (Expr::Literal(literal, _), Expr::Column(column)) => {
            (column, literal)
        }
        _ => return None,
    };
    let value = match literal {
        ScalarValue::UInt32(Some(number)) => number.to_string(),
        ScalarValue::Int32(Some(number)) => number.to_string(),
        other => text(other)?.clone(),
    };
    Some((column.name.clone(), value))
}

/// `column LIKE 'text'`, whatever the case: names of the lake are lower-case.
fn likeness(filter: &Expr) -> Option<(String, String)> {
    match filter {
        Expr::Like(like) if !like.negated && like.escape_char.is_none_or(|escape| escape == '\\') => {
            match (like.expr.as_ref(), like.pattern.as_ref()) {
                (Expr::Column(column), Expr::Literal(literal, _)) => {
                    text(literal).map(|text| (column.name.clone(), text.to_lowercase()))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn text(literal: &ScalarValue) -> Option<&String> {
    match literal {
        ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) | ScalarValue::LargeUtf8(Some(text)) => {
            Some(text)
        }
        _ => None,
    }
}

struct Part {
    definition: &'static Definition,
    request: Request,
    columns: SchemaRef,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.definition.schema, self.definition.table)
    }
}

impl PartitionStream for Part {
    fn schema(&self) -> &SchemaRef {
        &self.columns
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let table = self.definition.table;
        let lines = (self.definition.read)(self.request.clone())
            .inspect_err(move |error| tracing::error!(%error, table, "a system table could not be read"))
            .map_err(|error| DataFusionError::External(Box::new(error)));
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.columns), lines))
    }
}
