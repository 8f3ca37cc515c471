//! Words of PostgreSQL: for types, for what a statement did, for what is not there.

use mavis_sql::Executed;
use pgwire::{
    api::Type,
    messages::{PgWireBackendMessage, startup::ParameterStatus},
};

use super::{
    failure::{Failure, state},
    output::Wire,
    portal::Prepared,
};

/// Tells the client that a setting is another one now.
pub(super) fn report(wire: &mut Wire, changed: Option<(&'static str, String)>) {
    if let Some((name, value)) = changed {
        wire.put(&PgWireBackendMessage::ParameterStatus(ParameterStatus::new(name.to_owned(), value)));
    }
}

pub(super) fn no_savepoint(name: &str) -> Failure {
    Failure::error(state::NO_SAVEPOINT, format!("there is no savepoint \"{name}\""))
}

/// Bytes of a statement's text.
pub(super) fn size(prepared: &Prepared) -> usize {
    prepared.piece.as_ref().map_or(0, |piece| piece.sql.len())
}

/// The oid of a type's name in PREPARE; 0 leaves it to the planner.
pub(super) fn type_of(name: &str) -> u32 {
    match name.to_lowercase().as_str() {
        "bool" | "boolean" => Type::BOOL.oid(),
        "smallint" | "int2" => Type::INT2.oid(),
        "int" | "integer" | "int4" => Type::INT4.oid(),
        "bigint" | "int8" => Type::INT8.oid(),
        "real" | "float4" => Type::FLOAT4.oid(),
        "double precision" | "float8" => Type::FLOAT8.oid(),
        "date" => Type::DATE.oid(),
        "text" | "varchar" => Type::TEXT.oid(),
        "timestamp" => Type::TIMESTAMP.oid(),
        "timestamptz" => Type::TIMESTAMPTZ.oid(),
        _ => 0,
    }
}

/// The tag of a statement that changed something.
pub(super) fn written(done: &Executed) -> String {
    match done.command {
        "INSERT" => format!("INSERT 0 {}", done.rows),
        "CREATE TABLE AS" => format!("SELECT {}", done.rows),
        command @ ("UPDATE" | "DELETE" | "MERGE") => format!("{command} {}", done.rows),
        command => command.to_owned(),
    }
}
