//! Bulk Data `$export` of the system, of all patients, and of a Group (Bulk Data Access 2.0.0, section "Export").
//!
//! An export reads the current tables of one published snapshot, type by type, and streams them to files below the data
//! folder: NDJSON, one resource to a line as a read would answer it, or Parquet, the columns of `fhir.r4.<type>`. It goes on
//! while nobody asks, ends when it is deleted, and its files live a day. What a restart interrupts is reported as failed.
//!
//! Whose a resource is (for all patients, and for a Group) say the parameters of the patient compartment: a resource that
//! names a member beside another patient is the member's too.
//!
//! [`job`], [`run`] and [`poll`] know nothing of resources: exports of rows ([`super::sql_export`]) use them too.

mod asked;
mod door;
mod files;
pub(super) mod job;
pub(super) mod poll;
pub(super) mod run;
mod work;

pub(super) use door::{cancel, file, group, patients, status, system};
pub use job::Exports;
pub(super) use work::{TIME, members};

/// How long the files of an export live.
const LIFE: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
