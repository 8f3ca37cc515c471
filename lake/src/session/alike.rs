//! Filters that move down a plan find their columns again by name alone, and take the first of those that are called alike.
//!
//! A hash join sends what it knows of its keys down its other side while it runs, and each node on the way looks the columns up
//! in its input by name. Where two columns there have one name (`b i JOIN b j ... JOIN a o`), rows are held against the wrong
//! one and are lost without a word. Such an input is closed to filters here, for as long as they move; a join within it still
//! sends its own.

use std::{collections::HashSet, fmt, sync::Arc};

use arrow::datatypes::Schema;
use datafusion::{
    common::{
        JoinType, Result,
        config::ConfigOptions,
        internal_err,
        tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion},
    },
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::expressions::Column,
    physical_optimizer::{PhysicalOptimizerRule, filter_pushdown::FilterPushdown},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties,
        aggregates::AggregateExec,
        execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions},
        filter::FilterExec,
        joins::HashJoinExec,
        union::UnionExec,
    },
};

pub(super) type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// A rule as it is, or kept from columns that are called alike where it moves filters.
pub(super) fn careful(rule: Rule) -> Rule {
    let moves = [FilterPushdown::new(), FilterPushdown::new_post_optimization()];
    if moves.iter().any(|moves| moves.name() == rule.name()) { Arc::new(Careful { rule }) } else { rule }
}

/// A rule that moves filters, and stops where it would not know a column.
#[derive(Debug)]
struct Careful {
    rule: Rule,
}

impl PhysicalOptimizerRule for Careful {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let closed = plan.transform_up(close)?;
        if !closed.transformed {
            return self.rule.optimize(closed.data, config);
        }
        self.rule.optimize(closed.data, config)?.transform_down(open).data()
    }

    fn name(&self) -> &str {
        self.rule.name()
    }

    fn schema_check(&self) -> bool {
        self.rule.schema_check()
    }
}

/// The node over inputs that no filter enters where it would be misread.
fn close(node: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let children = node.children();
    let misread: Vec<bool> =
        children.iter().enumerate().map(|(place, child)| is_misread(&node, place, child)).collect();
    if !misread.contains(&true) {
        return Ok(Transformed::no(node));
    }
    let children = children.into_iter().zip(misread).map(|(child, misread)| -> Arc<dyn ExecutionPlan> {
        let child = Arc::clone(child);
        if misread { Arc::new(Stop { input: child }) } else { child }
    });
    let children = children.collect();
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
    Ok(Transformed::yes(node.replace_children(children, options)?))
}

fn open(node: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let mut node = node;
    let mut opened = false;
    while let Some(stop) = node.downcast_ref::<Stop>() {
        node = Arc::clone(&stop.input);
        opened = true;
    }
    Ok(if opened { Transformed::yes(node) } else { Transformed::no(node) })
}

/// Whether a filter over `node` may find another column by its name in the input at `place`.
fn is_misread(node: &Arc<dyn ExecutionPlan>, place: usize, child: &Arc<dyn ExecutionPlan>) -> bool {
    if repeats(&child.schema()) {
        return true;
    }
    // It takes what its input did not, and looks the columns up there.
    if child.downcast_ref::<FilterExec>().is_some_and(|filter| repeats(&filter.input().schema())) {
        return true;
    }
    if let Some(join) = node.downcast_ref::<HashJoinExec>() {
        return sends_keys_across(join, place, &child.schema());
    }
    if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
        let is_other = |(expr, name): &(Arc<dyn PhysicalExpr>, String)| {
            let is_it = expr.downcast_ref::<Column>().is_some_and(|column| column.name() == name);
            !is_it && child.schema().index_of(name).is_ok()
        };
        return aggregate.group_expr().expr().iter().any(is_other);
    }
    if node.downcast_ref::<UnionExec>().is_some() {
        return !node.schema().fields().iter().map(|field| field.name()).eq(child
            .schema()
            .fields()
            .iter()
            .map(|field| field.name()));
    }
    false
}

fn repeats(schema: &Schema) -> bool {
    let mut names = HashSet::with_capacity(schema.fields().len());
    !schema.fields().iter().all(|field| names.insert(field.name()))
}

/// Filters on the keys of a semi join go to the side that it does not answer, too: to the columns there that have the same
/// names, not to those that are equal.
fn sends_keys_across(join: &HashJoinExec, place: usize, other: &Schema) -> bool {
    let at = match join.join_type() {
        JoinType::LeftSemi => 1,
        JoinType::RightSemi => 0,
        _ => return false,
    };
    if place != at {
        return false;
    }
    join.on().iter().any(|(left, right)| {
        let (answered, unseen) = if at == 1 { (left, right) } else { (right, left) };
        let Some(key) = answered.downcast_ref::<Column>() else { return false };
        let is_it = unseen.downcast_ref::<Column>().is_some_and(|unseen| unseen.name() == key.name());
        !is_it && other.index_of(key.name()).is_ok()
    })
}

/// Stands over an input while filters move, and lets none through.
#[derive(Debug)]
struct Stop {
    input: Arc<dyn ExecutionPlan>,
}

impl DisplayAs for Stop {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stop")
    }
}

impl ExecutionPlan for Stop {
    fn name(&self) -> &'static str {
        "Stop"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(Self { input })),
            _ => internal_err!("a stop has one input"),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::physical_rules, *};
    use arrow::{
        array::{ArrayRef, Int64Array, RecordBatch},
        datatypes::{DataType, Field},
    };
    use datafusion::{
        dataframe::DataFrameWriteOptions,
        execution::session_state::SessionStateBuilder,
        prelude::{ParquetReadOptions, SessionConfig, SessionContext},
    };
    use rstest::rstest;
    use tempfile::TempDir;

    /// Rows of `(id, g, x)` that three tables have.
    fn batch(rows: i64, by: i64) -> RecordBatch {
        let fields = ["id", "g", "x"].map(|name| Field::new(name, DataType::Int64, true));
        let column =
            |value: &dyn Fn(i64) -> i64| -> ArrayRef { Arc::new((0..rows).map(value).collect::<Int64Array>()) };
        let columns = vec![column(&|row| row), column(&|row| row * by % 5), column(&|row| row * by * 3 % 11)];
        RecordBatch::try_new(Arc::new(Schema::new(fields.to_vec())), columns).unwrap()
    }

    async fn tables(folder: &TempDir) {
        let context = SessionContext::new();
        for (name, rows, by) in [("a", 300, 1), ("b", 6, 2), ("c", 450, 3)] {
            let path = folder.path().join(name).display().to_string();
            let rows = context.read_batch(batch(rows, by)).unwrap();
            rows.write_parquet(&path, DataFrameWriteOptions::new(), None).await.unwrap();
        }
    }

    async fn answer(folder: &TempDir, rules: Option<Vec<Rule>>, sends_filters: bool, sql: &str) -> Vec<String> {
        let config = SessionConfig::new()
            .with_target_partitions(4)
            .set_bool("datafusion.optimizer.enable_join_dynamic_filter_pushdown", sends_filters)
            .set_bool("datafusion.execution.parquet.pushdown_filters", true)
            .set_usize("datafusion.optimizer.hash_join_single_partition_threshold", 0)
            .set_usize("datafusion.optimizer.hash_join_single_partition_threshold_rows", 0);
        let mut builder = SessionStateBuilder::new().with_config(config).with_default_features();
        if let Some(rules) = rules {
            builder = builder.with_physical_optimizer_rules(rules);
        }
        let context = SessionContext::new_with_state(builder.build());
        for name in ["a", "b", "c"] {
            let path = folder.path().join(name).display().to_string();
            context.register_parquet(name, path, ParquetReadOptions::default()).await.unwrap();
        }
        let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
        let text = arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    }

    const TWICE_BESIDE_A_THIRD: &str = "SELECT count(*), sum(i.x), sum(j.x) \
                                        FROM a o JOIN (b i JOIN c j ON j.g = i.g) ON j.x = o.x WHERE i.id < 2 AND i.x <> o.g";

    #[rstest]
    #[case(TWICE_BESIDE_A_THIRD)]
    #[case("SELECT o.id, i.id, j.id FROM a o JOIN (b i JOIN c j ON i.g = j.g) ON o.x = j.x")]
    #[case(
        "SELECT o.id, i.id, j.id FROM a o JOIN (b i LEFT JOIN c j ON i.g = j.g AND j.id < 3) ON o.x = i.x AND o.g = j.g"
    )]
    #[case(
        "SELECT o.id, i.id FROM c o JOIN b i ON o.x = i.x WHERE EXISTS (SELECT 1 FROM a k WHERE k.g = i.x AND k.x > i.g)"
    )]
    #[case("SELECT o.id, i.x FROM a o JOIN (SELECT x, g FROM b UNION ALL SELECT g, x FROM c) i ON o.x = i.x")]
    #[case("SELECT o.id, i.n FROM a o JOIN (SELECT g + 1 AS x, count(*) AS n FROM b GROUP BY g + 1) i ON o.x = i.x")]
    #[tokio::test]
    async fn no_row_is_lost_where_columns_are_called_alike(#[case] sql: &str) {
        let folder = tempfile::tempdir().unwrap();
        tables(&folder).await;
        let expected = answer(&folder, None, false, sql).await;
        assert_eq!(answer(&folder, Some(physical_rules()), true, sql).await, expected);
    }

    // The day that this fails, the engine has learned it, and the rule may go.
    #[tokio::test]
    async fn the_engine_alone_loses_rows() {
        let folder = tempfile::tempdir().unwrap();
        tables(&folder).await;
        let expected = answer(&folder, None, false, TWICE_BESIDE_A_THIRD).await;
        assert_ne!(answer(&folder, None, true, TWICE_BESIDE_A_THIRD).await, expected);
    }
}
