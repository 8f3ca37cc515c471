//! What the benchmarks share: each is a binary that measures one claim against a floor or a peer **in the same run** and
//! prints the ratio, since the machines they run on are shared and absolute times drift.

mod figure;
mod flight;

pub use figure::{Figure, median, percentile, timed};
pub use flight::{Memory, client, serve_memory};
