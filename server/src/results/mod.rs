//! Answers of long queries: computed while nobody waits, kept in files until they are fetched.
//!
//! A [`Job`] is one query of one principal. Its rows go to Arrow IPC files below the data folder ([`file`]), so that an answer
//! of any size holds no memory, can be read again and from any row, and by several readers at once. [`store`] knows the jobs
//! of this process: nothing is taken over by the next start, which deletes what it finds. The files are deleted when their
//! time is over, when the owner says so, and by every erasure. What they may take together is bounded; a query that would go
//! beyond is ended.
//!
//! HTTP (`/api/v1/queries`) and Flight (PollFlightInfo) are its doors. Who may see a job is its owner alone.

mod file;
mod job;
mod read;
mod store;

pub(crate) use job::{Job, Phase};
pub use store::Results;
pub(crate) use store::{ResultsOptions, Submit};
