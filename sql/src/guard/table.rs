use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{ColumnStatistics, Result, ScalarValue, Statistics, ToDFSchema, stats::Precision},
    datasource::empty::EmptyTable,
    logical_expr::{
        Expr, Operator, TableProviderFilterPushDown, TableType,
        utils::{conjunction, split_conjunction},
    },
    physical_plan::{
        ExecutionPlan,
        filter::{FilterExec, FilterExecBuilder},
        projection::ProjectionExec,
    },
    prelude::ident,
};
use mavis_catalog::Table;
use mavis_lake::Providers;
use mavis_types::{TableName, TokenId};

use super::{
    barrier::Barrier,
    closed::{ClosedScan, spread},
    keys::by_key,
    lens::Lens,
    predicate::passes,
};

/// What resources are looked up by beside the key: their own id in history, their patient in any table.
const FHIR_KEYS: [&str; 2] = ["id", "__patient"];

/// Rows of one value that are read by filtering while decoding.
const FEW_ROWS: u64 = 1_000;

/// A table as one principal sees it.
#[derive(Debug)]
pub(crate) struct GuardedTable {
    providers: Providers,
    name: Arc<str>,
    /// Columns that rows are looked up by.
    keys: Vec<String>,
    /// Rows as the catalog was told last, for guesses that nobody is told of.
    rows: Option<u64>,
    lens: Arc<Lens>,
    /// The columns that are there.
    schema: SchemaRef,
    /// Whom it was made for: a plan of somebody else must not hold it.
    principal: TokenId,
}

impl GuardedTable {
    pub(crate) fn new(providers: Providers, table: &Table, lens: Lens, principal: TokenId) -> Self {
        let keys = table.key.iter().cloned().chain(FHIR_KEYS.map(str::to_owned));
        let keys = if lens.is_open() { keys.chain(nearly_keys(&providers)).collect() } else { keys.collect() };
        Self { rows: table.rows, ..Self::of(providers, &table.name, keys, lens, principal) }
    }

    fn of(providers: Providers, name: &TableName, keys: Vec<String>, lens: Lens, principal: TokenId) -> Self {
        let schema = lens.schema(&providers.whole.schema());
        Self { providers, name: name.to_string().into(), keys, rows: None, lens: Arc::new(lens), schema, principal }
    }

    /// A table that was never made: it has these columns and no rows.
    pub(crate) fn of_nothing(columns: SchemaRef, name: &TableName, lens: Lens, principal: TokenId) -> Self {
        let empty: Arc<dyn TableProvider> = Arc::new(EmptyTable::new(columns));
        let providers = Providers {
            version: 0,
            lake: None,
            whole: Arc::clone(&empty),
            look_up: empty,
            columns: Arc::default(),
            rows: Some(0),
        };
        Self { rows: Some(0), ..Self::of(providers, name, Vec::new(), lens, principal) }
    }

    /// Columns that rows are looked up by.
    pub(crate) fn keys(&self) -> &[String] {
        &self.keys
    }

    /// About how many rows there are, to choose how an answer is sent: into how many streams is told to whoever asks, so that
    /// nothing is known where rows are hidden.
    pub(crate) fn about(&self) -> Option<u64> {
        self.rows.filter(|_| self.lens.rows.is_none())
    }

    pub(crate) fn is_of(&self, principal: TokenId) -> bool {
        self.principal == principal
    }

    /// What is known of the columns that a scan gives; nothing where not everything is shown.
    fn known(&self, projection: Option<&Vec<usize>>) -> Vec<ColumnStatistics> {
        let columns = &self.providers.columns;
        match projection {
            _ if !self.lens.is_open() => Vec::new(),
            None => columns.to_vec(),
            Some(places) => places.iter().filter_map(|place| columns.get(*place)).cloned().collect(),
        }
    }

    /// Whether the rows of such a condition may be at hand by a key: it names one, and nothing is hidden.
    pub(super) fn may_be_at_hand(&self, condition: &Expr) -> bool {
        let named = |name: &str| self.keys.iter().any(|key| key == name);
        self.lens.is_open() && condition.column_refs().iter().any(|column| named(&column.name))
    }

    /// The rows for which all of `conditions` hold, read by key; `None` where they are not at hand so. `columns`: what is wanted
    /// of them, each once.
    pub(super) async fn at_hand(
        &self,
        state: &dyn Session,
        columns: &[&str],
        conditions: &[Expr],
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let places = columns.iter().map(|name| self.schema.index_of(name).ok()).collect::<Option<Vec<usize>>>();
        let Some(places) = places.filter(|places| self.lens.is_open() && is_each_once(places)) else { return Ok(None) };
        let looks_up = conditions.iter().any(|condition| looks_up(condition, &self.keys));
        if !looks_up || !conditions.iter().all(|condition| passes(condition, &self.lens)) {
            return Ok(None);
        }
        let rows = by_key(&self.providers, &self.keys, state, Some(&places), conditions, false).await?;
        Ok(rows.map(|rows| self.behind_barrier(rows, Some(&places))))
    }

    fn behind_barrier(&self, scan: Arc<dyn ExecutionPlan>, projection: Option<&Vec<usize>>) -> Arc<dyn ExecutionPlan> {
        let known = self.known(projection);
        Arc::new(Barrier::new(scan, Arc::clone(&self.name), Arc::clone(&self.lens), known))
    }

    /// A scan through the lens: rows that are not there are left out, and what stands in the place of values is put in, below
    /// the barrier. `projection` and `filters` are over the columns that are there. Where rows are hidden, all `filters` hold
    /// for what comes out.
    async fn scan_through(
        &self,
        inner: &Arc<dyn TableProvider>,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        mut filters: Vec<Expr>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let whole = inner.schema();
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let wanted: Vec<&str> =
            projection.unwrap_or(&all).iter().map(|place| self.schema.field(*place).name().as_str()).collect();
        filters.extend(self.lens.rows.iter().flat_map(split_conjunction).cloned());
        let mut reads: Vec<usize> = Vec::new();
        let of_filters = filters.iter().filter(|_| self.lens.rows.is_some()).flat_map(Expr::column_refs);
        for name in wanted.iter().copied().chain(of_filters.map(|column| column.name.as_str())) {
            let place = whole.index_of(name)?;
            if !reads.contains(&place) {
                reads.push(place);
            }
        }
        // A scan without any column is a special case that not every source counts right.
        if reads.is_empty() && !whole.fields().is_empty() {
            reads.push(0);
        }
        reads.sort_unstable();
        let lanes = state.config().target_partitions();
        let mut scan = inner.scan(state, Some(&reads), &filters, None).await?;
        let columns = scan.schema().to_dfschema()?;
        let rows = if self.lens.rows.is_some() { conjunction(filters) } else { None };
        if let Some(rows) = &rows {
            let rows = state.create_physical_expr(rows.clone(), &columns)?;
            scan = Arc::new(FilterExec::try_new(rows, spread(scan, lanes)?)?);
        }
        let shown = wanted.into_iter().map(|name| {
            let shown = self.lens.masks.get(name).cloned().unwrap_or_else(|| ident(name));
            Ok((state.create_physical_expr(shown, &columns)?, name.to_owned()))
        });
        let scan = Arc::new(ProjectionExec::try_new(shown.collect::<Result<Vec<_>>>()?, scan)?);
        Ok(if rows.is_some() { Arc::new(ClosedScan::new(scan, lanes)) } else { scan })
    }

    /// A scan where rows are hidden, for which all of `filters` hold: those that may not be evaluated on hidden rows are
    /// applied to what comes out.
    async fn scan_closed(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (below, above): (Vec<Expr>, Vec<Expr>) =
            filters.iter().cloned().partition(|filter| passes(filter, &self.lens));
        let look_up = below.iter().any(|filter| looks_up(filter, &self.keys));
        let inner = if look_up { &self.providers.look_up } else { &self.providers.whole };
        let Some(above) = conjunction(above) else {
            let scan = self.scan_through(inner, state, projection, below).await?;
            return Ok(self.behind_barrier(scan, projection));
        };
        let mut places = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let wanted = places.len();
        for column in above.column_refs() {
            let place = self.schema.index_of(&column.name)?;
            if !places.contains(&place) {
                places.push(place);
            }
        }
        let scan = self.scan_through(inner, state, Some(&places), below).await?;
        let scan = self.behind_barrier(scan, Some(&places));
        let above = state.create_physical_expr(above, &scan.schema().to_dfschema()?)?;
        let scan = FilterExecBuilder::new(above, scan).apply_projection(Some((0..wanted).collect()))?.build()?;
        Ok(Arc::new(scan))
    }
}

#[async_trait]
impl TableProvider for GuardedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if self.lens.rows.is_some() {
            return self.scan_closed(state, projection, filters).await;
        }
        let filters: Vec<Expr> = filters.iter().filter(|filter| passes(filter, &self.lens)).cloned().collect();
        let look_up = filters.iter().any(|filter| looks_up(filter, &self.keys));
        let inner = if look_up { &self.providers.look_up } else { &self.providers.whole };
        let scan = if self.lens.is_open() {
            let by_key = if look_up {
                by_key(&self.providers, &self.keys, state, projection, &filters, true).await?
            } else {
                None
            };
            match by_key {
                Some(scan) => scan,
                None => inner.scan(state, projection, &filters, limit).await?,
            }
        } else {
            self.scan_through(inner, state, projection, filters).await?
        };
        Ok(self.behind_barrier(scan, projection))
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let inner = self.providers.whole.supports_filters_pushdown(filters)?;
        let held = inner.into_iter().zip(filters).map(|(support, filter)| match passes(filter, &self.lens) {
            false => TableProviderFilterPushDown::Unsupported,
            true if self.lens.rows.is_some() => TableProviderFilterPushDown::Exact,
            true => support,
        });
        Ok(held.collect())
    }

    fn statistics(&self) -> Option<Statistics> {
        if self.lens.is_open() { self.providers.whole.statistics() } else { None }
    }
}

fn is_each_once(places: &[usize]) -> bool {
    places.iter().enumerate().all(|(at, place)| !places[..at].contains(place))
}

/// Columns of which a value has few rows, by what the log knows of them: so many rows, over so many numbers.
fn nearly_keys(providers: &Providers) -> Vec<String> {
    let schema = providers.whole.schema();
    let columns = schema.fields().iter().zip(providers.columns.iter());
    // Each table of each statement is asked so; a cast goes by way of arrays.
    let number = |value: &Precision<ScalarValue>| -> Option<i64> {
        match value.get_value()? {
            ScalarValue::Int64(value) => *value,
            ScalarValue::Int32(value) | ScalarValue::Date32(value) => value.map(i64::from),
            other => i64::try_from(other.cast_to(&DataType::Int64).ok()?).ok(),
        }
    };
    let few = columns.filter(|(_, known)| {
        let (Some(rows), Some(low), Some(high)) = (providers.rows, number(&known.min_value), number(&known.max_value))
        else {
            return false;
        };
        rows / high.abs_diff(low).saturating_add(1) <= FEW_ROWS
    });
    few.map(|(field, _)| field.name().clone()).collect()
}

/// Whether a filter leaves only the rows of some keys: `key = literal`, `key IN (...)`, also beside other conditions.
fn looks_up(filter: &Expr, keys: &[String]) -> bool {
    let is_key = |expr: &Expr| matches!(expr, Expr::Column(column) if keys.contains(&column.name));
    let is_literal = |expr: &Expr| matches!(expr, Expr::Literal(..));
    match filter {
        Expr::BinaryExpr(binary) => match binary.op {
            Operator::Eq => {
                (is_key(&binary.left) && is_literal(&binary.right))
                    || (is_literal(&binary.left) && is_key(&binary.right))
            }
            Operator::And => looks_up(&binary.left, keys) || looks_up(&binary.right, keys),
            Operator::Or => looks_up(&binary.left, keys) && looks_up(&binary.right, keys),
            _ => false,
        },
        Expr::InList(list) => !list.negated && is_key(&list.expr) && list.list.iter().all(is_literal),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::prelude::{col, lit};
    use rstest::rstest;

    #[rstest]
    #[case(col("id").eq(lit("a")), true)]
    #[case(lit("a").eq(col("id")), true)]
    #[case(col("id").in_list(vec![lit("a"), lit("b")], false), true)]
    #[case(col("id").eq(lit("a")).and(col("n").gt(lit(3))), true)]
    #[case(col("id").eq(lit("a")).or(col("id").eq(lit("b"))), true)]
    #[case(col("id").in_list(vec![lit("a")], true), false)]
    #[case(col("id").eq(lit("a")).or(col("n").gt(lit(3))), false)]
    #[case(col("id").gt(lit("a")), false)]
    #[case(col("sex").eq(lit("f")), false)]
    fn a_filter_on_a_key_is_a_look_up(#[case] filter: Expr, #[case] is: bool) {
        assert_eq!(looks_up(&filter, &["id".to_owned()]), is);
    }
}
