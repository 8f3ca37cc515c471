//! What the benchmarks share: each is a binary that measures one claim against a floor or a peer **in the same run** and
//! prints the ratio, since the machines they run on are shared and absolute times drift.

mod delta;
mod figure;
mod flight;
mod plain;
mod synthea;
mod wire;

pub use delta::live_files;
pub use figure::{Figure, median, percentile, timed};
pub use flight::{Memory, client, serve_memory};
pub use plain::Plain;
pub use synthea::{as_ndjson, copy};
pub use wire::Wire;
