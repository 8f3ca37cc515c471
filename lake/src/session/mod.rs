//! Plain DataFusion sessions over one shared runtime: memory, spill, file metadata cache.
//!
//! Text columns come as `Utf8` and binary ones as `Binary`, never as views: the same types in [`crate::Lake::schema`],
//! in plans, in hops, and on the wire. The engine's rules are mended where they lose rows: [`alike`], [`groups`], [`nulls`],
//! [`outer`].

mod alike;
mod groups;
mod nulls;
mod outer;

use std::{fmt, num::NonZeroUsize, sync::Arc};

use datafusion::{
    execution::{
        SessionState,
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::{FairSpillPool, TrackConsumersPool},
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
        session_state::SessionStateBuilder,
    },
    physical_optimizer::optimizer::PhysicalOptimizer,
    prelude::{SessionConfig, SessionContext},
};

use crate::{Error, LakeOptions, memory::ChildPool, store::Store};

/// Footers of Parquet files that stay in memory, in bytes.
const FOOTER_CACHE_BYTES: usize = 256 << 20;
/// What a spilling sort keeps aside for its merge, in bytes: the default of 10 MB times partitions times queries would
/// exhaust a small pool before a row is sorted.
const SORT_RESERVATION_BYTES: usize = 2 << 20;
/// Up to this size one side of a join is put into one hash table that all threads look into; a larger one is split by hash, and
/// the other side with it, which copies every row of both.
const ONE_HASH_TABLE_BYTES: usize = 16 << 20;
const ONE_HASH_TABLE_ROWS: usize = 1 << 20;
/// Consumers named in an "out of memory" error.
const NAMED_CONSUMERS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4);

/// Makes sessions that share one runtime.
#[derive(Debug, Clone)]
pub struct Sessions {
    runtime: Arc<RuntimeEnv>,
    partitions: usize,
    whole: Template,
    look_up: Template,
}

/// A session state to take copies of.
///
/// It is behind a function because the state's type holds plans, whose types name each other in circles: the compiler would
/// prove again, for every method of every service that holds a lake, that threads may share them, which took two thirds of the
/// server's build.
#[derive(Clone)]
pub struct Template(Arc<dyn Fn() -> Arc<SessionState> + Send + Sync>);

impl Template {
    #[must_use]
    pub fn new(state: SessionState) -> Self {
        let state = Arc::new(state);
        Self(Arc::new(move || Arc::clone(&state)))
    }

    #[must_use]
    pub fn state(&self) -> Arc<SessionState> {
        (self.0)()
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Template")
    }
}

impl Sessions {
    pub(crate) fn new(options: &LakeOptions, store: &Store) -> Result<Self, Error> {
        let disk =
            DiskManagerBuilder::default().with_mode(DiskManagerMode::Directories(vec![options.spill_dir.clone()]));
        let pool = TrackConsumersPool::new(FairSpillPool::new(options.memory_bytes), NAMED_CONSUMERS);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
            .with_disk_manager_builder(disk)
            .with_metadata_cache_limit(FOOTER_CACHE_BYTES.min(options.memory_bytes / 4))
            .build_arc()?;
        runtime.register_object_store(&store.authority(), Arc::clone(store.root()));
        let whole = Template::new(state(config(options.partitions), Arc::clone(&runtime)));
        let lookups = config(options.partitions)
            .set_bool("datafusion.execution.parquet.pushdown_filters", true)
            .set_bool("datafusion.execution.parquet.reorder_filters", true);
        let look_up = Template::new(state(lookups, Arc::clone(&runtime)));
        Ok(Self { runtime, partitions: options.partitions, whole, look_up })
    }

    #[must_use]
    pub fn runtime(&self) -> Arc<RuntimeEnv> {
        Arc::clone(&self.runtime)
    }

    /// The configuration that every session starts from: the two settings of delta-rs against a panic on dictionary join
    /// keys, UTC, plain text types, partitions.
    #[must_use]
    pub fn config(&self) -> SessionConfig {
        config(self.partitions)
    }

    /// An empty session with its own memory child pool of at most `memory_bytes`.
    #[must_use]
    pub fn session(&self, memory_bytes: usize) -> SessionContext {
        SessionContext::new_with_state(state(self.config(), self.child_runtime(memory_bytes)))
    }

    /// What a session with another configuration, or other functions, is built from: no functions are in it yet.
    #[must_use]
    pub fn builder(&self, config: SessionConfig) -> SessionStateBuilder {
        builder(config, self.runtime())
    }

    /// The runtime with a memory child pool of at most `memory_bytes`: what is taken from it counts against both.
    #[must_use]
    pub fn child_runtime(&self, memory_bytes: usize) -> Arc<RuntimeEnv> {
        let parent = Arc::clone(&self.runtime.memory_pool);
        let mut runtime = RuntimeEnv::clone(&self.runtime);
        runtime.memory_pool = Arc::new(ChildPool::new(parent, memory_bytes));
        Arc::new(runtime)
    }

    /// The state that providers are built with: they take the scan's settings from it.
    pub(crate) fn state(&self) -> Arc<SessionState> {
        self.whole.state()
    }

    pub(crate) fn lookup_state(&self) -> Arc<SessionState> {
        self.look_up.state()
    }

    /// A session on the shared pool, for the lake's own work.
    pub(crate) fn internal(&self) -> SessionContext {
        SessionContext::new_with_state(SessionState::clone(&self.whole.state()))
    }
}

fn config(partitions: usize) -> SessionConfig {
    SessionConfig::new()
        .with_target_partitions(partitions.max(1))
        .with_information_schema(false)
        .with_sort_spill_reservation_bytes(SORT_RESERVATION_BYTES)
        .set_str("datafusion.execution.time_zone", "+00:00")
        .set_bool("datafusion.execution.parquet.schema_force_view_types", false)
        // As Hive and Impala wrote times; in nanoseconds the years 1 and 9999 would come out as others.
        .set_str("datafusion.execution.parquet.coerce_int96", "us")
        .set_usize("datafusion.optimizer.hash_join_single_partition_threshold", ONE_HASH_TABLE_BYTES)
        .set_usize("datafusion.optimizer.hash_join_single_partition_threshold_rows", ONE_HASH_TABLE_ROWS)
        .set_usize("datafusion.optimizer.hash_join_inlist_pushdown_max_size", 0)
        .set_usize("datafusion.optimizer.hash_join_inlist_pushdown_max_distinct_values", 0)
}

fn state(config: SessionConfig, runtime: Arc<RuntimeEnv>) -> SessionState {
    builder(config, runtime).with_default_features().build()
}

/// The engine with its rules mended, without functions.
fn builder(config: SessionConfig, runtime: Arc<RuntimeEnv>) -> SessionStateBuilder {
    SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_physical_optimizer_rules(physical_rules())
        .with_analyzer_rule(Arc::new(nulls::NullsAsKeys))
        .with_analyzer_rule(Arc::new(groups::GroupsApart))
}

/// The engine's rules that make a plan run, in its order, mended.
fn physical_rules() -> Vec<alike::Rule> {
    let first: alike::Rule = Arc::new(outer::OuterSides);
    std::iter::once(first).chain(PhysicalOptimizer::new().rules.into_iter().map(alike::careful)).collect()
}
