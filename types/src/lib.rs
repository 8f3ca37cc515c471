//! The small words that every crate of Mavis shares: zones, names, ids, cursors, principals, counts.
//!
//! Nothing here reads, waits or knows a wire format. A word belongs here only if two crates that must not import each
//! other both need it.

mod count;
mod cursor;
mod id;
mod label;
mod name;
mod principal;
mod rights;
mod smart;
mod zone;

pub use count::Counts;
pub use cursor::Cursor;
pub use id::{RunId, SnapshotId, SourceId, TableId, TokenId};
pub use label::{file_label, system_cause};
pub use name::{NameError, SourceName, TableName, normalize_name, unique_names};
pub use principal::{Principal, Role, SchemaGrant, Scope, is_like_marked, own_schema};
pub use rights::{Mask, Place, Rights, Sight, is_copy};
pub use smart::{Smart, SmartContext, SmartError, SmartScope};
pub use zone::Zone;
