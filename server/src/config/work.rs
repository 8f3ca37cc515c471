use std::{num::NonZeroUsize, time::Duration};

use mavis_pipeline::Upkeep;
use serde::{Deserialize, Serialize};

/// How queries share the machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueryConfig {
    /// Queries that run at once; the others wait their turn. Default: twice the number of cores.
    pub concurrent: usize,
    /// Queries that may wait; one more is refused. Default: 1000.
    pub queued: usize,
    /// Longest time of one query, planning included, in seconds. Default: 300.
    pub time_seconds: u64,
    /// Memory that one query may use before it spills, in bytes. Default: 1073741824 (1 GiB).
    pub memory_bytes: usize,
    /// Memory that all queries and merges together may use, in bytes. Default: 2147483648 (2 GiB).
    pub total_memory_bytes: usize,
    /// Memory for answers that are given again while their tables stay as they are, in bytes; 0 keeps none. Default:
    /// 268435456 (256 MiB).
    pub answers_bytes: usize,
    /// Memory for columns of files that queries read again and again, decompressed, in bytes, beside `total_memory_bytes`; 0
    /// keeps none. Default: 536870912 (512 MiB).
    pub pages_bytes: usize,
    /// Parts that one plan is cut into. Default: the number of cores.
    pub partitions: usize,
    /// Longest time of a query whose answer is fetched later (`/api/v1/queries`, PollFlightInfo), in seconds. Default: 3600.
    pub long_seconds: u64,
    /// How long the answer of such a query is kept after its end, in seconds. Default: 3600.
    pub result_seconds: u64,
    /// Room on the disk for the answers of all such queries, in bytes. Default: 10737418240 (10 GiB).
    pub results_bytes: u64,
}

impl Default for QueryConfig {
    fn default() -> Self {
        let cores = cores();
        Self {
            concurrent: 2 * cores,
            queued: 1_000,
            time_seconds: 300,
            memory_bytes: 1 << 30,
            total_memory_bytes: 2 << 30,
            answers_bytes: 256 << 20,
            pages_bytes: 512 << 20,
            partitions: cores,
            long_seconds: 3600,
            result_seconds: 3600,
            results_bytes: 10 << 30,
        }
    }
}

/// How much the pipeline does at once.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PipelineConfig {
    /// Runs that get the places they can use; `workers` times `tables_per_run` tables are worked on at once, in turns between
    /// the sources. Default: 2.
    pub workers: usize,
    /// Tables of one run at once. Default: the number of cores, at most 4.
    pub tables_per_run: usize,
    /// Tries of a failed run, the first one included. Default: 3.
    pub attempts: u32,
}

impl Default for PipelineConfig {
    fn default() -> Self {
        Self { workers: 2, tables_per_run: cores().min(4), attempts: 3 }
    }
}

/// Following schedules.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SchedulesConfig {
    /// How often the schedules are looked at, in seconds; 0: this server follows none. Default: 1.
    pub look_every_seconds: u64,
}

impl Default for SchedulesConfig {
    fn default() -> Self {
        Self { look_every_seconds: 1 }
    }
}

/// What keeps the lake in order in the background.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpkeepConfig {
    /// Pause between two rounds, in seconds; 0 turns upkeep off. Default: 60.
    pub every_seconds: u64,
    /// Files of about one size that a table gathers before they are put together; 0: never. Default: 16.
    pub files: usize,
    /// Hours after which a published state of the FHIR zone is forgotten, and with it the pages of searches that began
    /// with it; at most 24, since a vacuum may delete what is older. Default: 24.
    pub snapshot_hours: u64,
}

impl Default for UpkeepConfig {
    fn default() -> Self {
        Self { every_seconds: 60, files: 16, snapshot_hours: 24 }
    }
}

impl UpkeepConfig {
    /// `None` where it is turned off.
    pub(crate) fn upkeep(&self) -> Option<Upkeep> {
        (self.every_seconds > 0).then(|| Upkeep {
            every: Duration::from_secs(self.every_seconds),
            files: self.files,
            snapshots: Duration::from_secs(self.snapshot_hours.clamp(1, 24) * 3600),
        })
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, NonZeroUsize::get)
}
