//! Every query passes here: zones as SQL catalogs, one guard, limits, our dialect, time travel.
//!
//! A statement is parsed by our dialect, its time travel clauses and names are resolved against the catalog database, the
//! tables that it names (and no others) are opened, each behind a guarded provider for the principal who asks, the plan is
//! walked once more and denied by default, and it runs within the limits of admission on the CPU runtime.
//!
//! It writes nothing and never imports `pipeline`.

mod engine;
mod error;
mod limits;

pub use engine::{Engine, EngineOptions, Prepared, QueryStream, Session, TableListing};
pub use error::Error;
pub use limits::Limits;
