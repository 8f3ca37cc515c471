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
    let name = name.trim().to_lowercase();
    let (name, is_list) = name.strip_suffix("[]").map_or((name.as_str(), false), |item| (item.trim_end(), true));
    let name = name.strip_prefix("pg_catalog.").unwrap_or(name).replace('"', "");
    // How long a text may be, and how many digits a number has, is no matter of a parameter.
    let (short, rest) = name.split_once('(').unwrap_or((&name, ""));
    let rest = rest.split_once(')').map_or("", |(_, rest)| rest);
    let (item, list) = match format!("{}{rest}", short.trim_end()).as_str() {
        "bool" | "boolean" => (Type::BOOL, Type::BOOL_ARRAY),
        "smallint" | "int2" => (Type::INT2, Type::INT2_ARRAY),
        "int" | "integer" | "int4" => (Type::INT4, Type::INT4_ARRAY),
        "bigint" | "int8" => (Type::INT8, Type::INT8_ARRAY),
        "real" | "float4" => (Type::FLOAT4, Type::FLOAT4_ARRAY),
        "double precision" | "float8" => (Type::FLOAT8, Type::FLOAT8_ARRAY),
        "numeric" | "decimal" => (Type::NUMERIC, Type::NUMERIC_ARRAY),
        "bytea" => (Type::BYTEA, Type::BYTEA_ARRAY),
        "date" => (Type::DATE, Type::DATE_ARRAY),
        "time" | "time without time zone" => (Type::TIME, Type::TIME_ARRAY),
        "timestamp" | "timestamp without time zone" => (Type::TIMESTAMP, Type::TIMESTAMP_ARRAY),
        "timestamptz" | "timestamp with time zone" => (Type::TIMESTAMPTZ, Type::TIMESTAMPTZ_ARRAY),
        "interval" => (Type::INTERVAL, Type::INTERVAL_ARRAY),
        "text" => (Type::TEXT, Type::TEXT_ARRAY),
        "varchar" | "character varying" => (Type::VARCHAR, Type::VARCHAR_ARRAY),
        "uuid" => (Type::UUID, Type::UUID_ARRAY),
        "json" => (Type::JSON, Type::JSON_ARRAY),
        "jsonb" => (Type::JSONB, Type::JSONB_ARRAY),
        _ => return 0,
    };
    if is_list { list.oid() } else { item.oid() }
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

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("INTEGER", Type::INT4.oid())]
    #[case("numeric(10, 2)", Type::NUMERIC.oid())]
    #[case("timestamp(3) with time zone", Type::TIMESTAMPTZ.oid())]
    #[case("pg_catalog.int8[]", Type::INT8_ARRAY.oid())]
    #[case("uuid", Type::UUID.oid())]
    #[case("unknown", 0)]
    fn a_type_has_a_number(#[case] name: &str, #[case] expected: u32) {
        assert_eq!(type_of(name), expected);
    }
}
