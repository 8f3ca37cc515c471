//! The scan of a table of which rows are hidden.
//!
//! Which files a query leaves out is decided by the rows in them, also by those that the caller does not see. So nothing that
//! is seen may depend on which files were read: not the number of partitions, not which rows come together or in which order,
//! not what an optimiser makes of it. The scan has as many lanes as plans have partitions, whatever there is to read; a piece
//! of a file always goes to the same lane, in the order of the log; the caller's conditions are applied to the last row
//! before anything leaves. And it is a leaf: no rule of the optimiser looks below it, nor does who asks how far a query is.

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use datafusion::{
    common::{
        Result, internal_err,
        tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion},
    },
    datasource::{
        listing::PartitionedFile,
        physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder},
        source::DataSourceExec,
    },
    execution::TaskContext,
    physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties, ReplaceChildrenOptions,
        SendableRecordBatchStream,
        execution_plan::{Boundedness, EmissionType},
        stream::RecordBatchStreamAdapter,
    },
};
use futures::{TryStreamExt, stream};

/// Of a large file each so many bytes are a piece.
const PIECE_BYTES: u64 = 32 << 20;
/// Files that one group of a scan can tell apart are 65,536.
const GROUP_PIECES: usize = 60_000;

/// Rows and columns that a principal sees, and nothing of what they are read from.
#[derive(Debug, Clone)]
pub(super) struct ClosedScan {
    input: Arc<dyn ExecutionPlan>,
    lanes: usize,
    properties: Arc<PlanProperties>,
}

impl ClosedScan {
    /// `input`: only what the caller sees, of a scan that was [`spread`] over as many lanes.
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, lanes: usize) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            Partitioning::UnknownPartitioning(lanes),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { input, lanes, properties: Arc::new(properties) }
    }
}

impl DisplayAs for ClosedScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClosedScan")
    }
}

impl ExecutionPlan for ClosedScan {
    fn name(&self) -> &'static str {
        "ClosedScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() { Ok(self) } else { internal_err!("a closed scan is a leaf") }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() { Ok(self) } else { internal_err!("a closed scan is a leaf") }
    }

    fn execute(&self, lane: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = Arc::clone(&self.input);
        let parts = (lane..input.output_partitioning().partition_count()).step_by(self.lanes);
        let rows = stream::iter(parts.map(move |part| input.execute(part, Arc::clone(&context)))).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.input.schema(), rows)))
    }
}

/// A scan whose files are spread over `lanes`, each piece by its own name and place alone. Part `n` of the scan belongs to
/// lane `n % lanes`.
///
/// # Errors
/// Of plans that cannot be made anew.
pub(super) fn spread(scan: Arc<dyn ExecutionPlan>, lanes: usize) -> Result<Arc<dyn ExecutionPlan>> {
    scan.transform_up(|node| {
        let config = node.downcast_ref::<DataSourceExec>().map(DataSourceExec::data_source);
        let Some(config) = config.and_then(|source| source.downcast_ref::<FileScanConfig>()) else {
            return Ok(Transformed::no(node));
        };
        let files = config.file_groups.iter().flat_map(|group| group.iter().cloned());
        let mut builder = FileScanConfigBuilder::from(config.clone()).with_preserve_order(true);
        // Of a file with deletion vectors the rows are counted: it is read as a whole, as the scan says.
        if config.output_partitioning.is_none() {
            builder = builder.with_file_groups(groups(files, lanes));
        }
        Ok(Transformed::yes(DataSourceExec::from_data_source(builder.build())))
    })
    .data()
}

fn groups(files: impl Iterator<Item = PartitionedFile>, lanes: usize) -> Vec<FileGroup> {
    let mut pieces: Vec<Vec<PartitionedFile>> = vec![Vec::new(); lanes];
    for file in files {
        let (path, bytes) = (file.object_meta.location.as_ref(), file.object_meta.size);
        let mut hasher = DefaultHasher::new();
        path.hash(&mut hasher);
        let first = hasher.finish();
        let count = if file.range.is_some() { 1 } else { bytes.div_ceil(PIECE_BYTES).max(1) };
        for piece in 0..count {
            let lane = usize::try_from(first.wrapping_add(piece) % lanes as u64).unwrap_or_default();
            let (from, to) = (piece * PIECE_BYTES, ((piece + 1) * PIECE_BYTES).min(bytes));
            pieces[lane].push(match (count, i64::try_from(from), i64::try_from(to)) {
                (2.., Ok(from), Ok(to)) => file.clone().with_range(from, to),
                _ => file.clone(),
            });
        }
    }
    let rounds = pieces.iter().map(|lane| lane.len().div_ceil(GROUP_PIECES)).max().unwrap_or(0).max(1);
    let mut pieces: Vec<_> = pieces.into_iter().map(Vec::into_iter).collect();
    (0..rounds)
        .flat_map(|_| pieces.iter_mut().map(|lane| lane.by_ref().take(GROUP_PIECES).collect()).collect::<Vec<_>>())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Which lane reads which bytes of which file.
    fn lanes(names: &[(&str, u64)]) -> BTreeMap<(String, Option<(i64, i64)>), usize> {
        let files = names.iter().map(|(name, bytes)| PartitionedFile::new(*name, *bytes));
        let groups = groups(files, 3);
        assert_eq!(groups.len(), 3);
        let pieces = groups.iter().enumerate().flat_map(|(lane, group)| {
            group.iter().map(move |file| {
                let range = file.range.as_ref().map(|range| (range.start, range.end));
                ((file.path().to_string(), range), lane)
            })
        });
        pieces.collect()
    }

    #[test]
    fn a_piece_goes_to_its_lane_whatever_else_is_read() {
        let many: Vec<(String, u64)> = (0..40).map(|n| (format!("f{n}.parquet"), 10)).collect();
        let all: Vec<(&str, u64)> = many.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
        let whole = lanes(&all);
        assert_eq!(whole.len(), 40);
        for lane in 0..3 {
            assert!(whole.values().filter(|of| **of == lane).count() > 4);
        }
        let some: Vec<(&str, u64)> = all.iter().copied().step_by(3).collect();
        for (piece, lane) in lanes(&some) {
            assert_eq!(whole[&piece], lane);
        }
        assert!(lanes(&[]).is_empty());
    }

    #[test]
    fn a_large_file_is_read_by_all_lanes_each_byte_once() {
        let bytes = 3 * PIECE_BYTES + 7;
        let pieces = lanes(&[("large.parquet", bytes)]);
        let mut ranges: Vec<(i64, i64)> = pieces.keys().filter_map(|(_, range)| *range).collect();
        ranges.sort_unstable();
        assert_eq!(ranges.len(), 4);
        assert_eq!((ranges[0].0, ranges[3].1), (0, i64::try_from(bytes).unwrap()));
        assert!(ranges.windows(2).all(|pair| pair[0].1 == pair[1].0));
        assert_eq!(pieces.values().collect::<std::collections::BTreeSet<_>>().len(), 3);
    }
}
