//! PostgreSQL's own types, as far as columns of the lake have them or clients ask for them.

use arrow::datatypes::DataType;

/// A type that every PostgreSQL has, with the numbers that it has there (`pg_type.dat`).
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) oid: u32,
    pub(crate) name: &'static str,
    /// What SQL calls it.
    pub(crate) sql: &'static str,
    /// Bytes of a value, -1 where they differ.
    pub(crate) length: i64,
    pub(crate) category: &'static str,
    /// Of the type of its lists; 0 for none.
    pub(crate) list: u32,
    /// The functions that read and write its values.
    pub(super) functions: Functions,
}

/// What the names of four functions begin with, and their numbers (`pg_proc.dat`); see [`ENDS`].
pub(super) type Functions = (&'static str, [u32; 4]);

/// What their names end with.
pub(super) const ENDS: [&str; 4] = ["in", "out", "recv", "send"];

/// Those of every list.
pub(super) const OF_LISTS: Functions = ("array_", [750, 751, 2400, 2401]);

const fn named(
    oid: u32,
    name: &'static str,
    sql: &'static str,
    length: i64,
    category: &'static str,
    list: u32,
    functions: Functions,
) -> Named {
    Named { oid, name, sql, length, category, list, functions }
}

pub(crate) static NAMES: [Named; 34] = [
    named(16, "bool", "boolean", 1, "B", 1000, ("bool", [1242, 1243, 2436, 2437])),
    named(17, "bytea", "bytea", -1, "U", 1001, ("bytea", [1244, 31, 2412, 2413])),
    named(18, "char", "\"char\"", 1, "Z", 1002, ("char", [1245, 33, 2434, 2435])),
    named(19, "name", "name", 64, "S", 1003, ("name", [34, 35, 2422, 2423])),
    named(20, "int8", "bigint", 8, "N", 1016, ("int8", [460, 461, 2408, 2409])),
    named(21, "int2", "smallint", 2, "N", 1005, ("int2", [38, 39, 2404, 2405])),
    named(22, "int2vector", "int2vector", -1, "A", 1006, ("int2vector", [40, 41, 2410, 2411])),
    named(23, "int4", "integer", 4, "N", 1007, ("int4", [42, 43, 2406, 2407])),
    named(24, "regproc", "regproc", 4, "N", 1008, ("regproc", [44, 45, 2444, 2445])),
    named(25, "text", "text", -1, "S", 1009, ("text", [46, 47, 2414, 2415])),
    named(26, "oid", "oid", 4, "N", 1028, ("oid", [1798, 1799, 2418, 2419])),
    named(28, "xid", "xid", 4, "U", 1011, ("xid", [50, 51, 2440, 2441])),
    named(30, "oidvector", "oidvector", -1, "A", 1013, ("oidvector", [54, 55, 2420, 2421])),
    named(114, "json", "json", -1, "U", 199, ("json_", [321, 322, 323, 324])),
    named(700, "float4", "real", 4, "N", 1021, ("float4", [200, 201, 2424, 2425])),
    named(701, "float8", "double precision", 8, "N", 1022, ("float8", [214, 215, 2426, 2427])),
    named(705, "unknown", "unknown", -2, "X", 0, ("unknown", [109, 110, 2416, 2417])),
    named(1042, "bpchar", "character", -1, "S", 1014, ("bpchar", [1044, 1045, 2430, 2431])),
    named(1043, "varchar", "character varying", -1, "S", 1015, ("varchar", [1046, 1047, 2432, 2433])),
    named(1082, "date", "date", 4, "D", 1182, ("date_", [1084, 1085, 2468, 2469])),
    named(1083, "time", "time without time zone", 8, "D", 1183, ("time_", [1143, 1144, 2470, 2471])),
    named(1114, "timestamp", "timestamp without time zone", 8, "D", 1115, ("timestamp_", [1312, 1313, 2474, 2475])),
    named(1184, "timestamptz", "timestamp with time zone", 8, "D", 1185, ("timestamptz_", [1150, 1151, 2476, 2477])),
    named(1186, "interval", "interval", 16, "T", 1187, ("interval_", [1160, 1161, 2478, 2479])),
    named(1266, "timetz", "time with time zone", 12, "D", 1270, ("timetz_", [1350, 1351, 2472, 2473])),
    named(1700, "numeric", "numeric", -1, "N", 1231, ("numeric_", [1701, 1702, 2460, 2461])),
    named(2205, "regclass", "regclass", 4, "N", 2210, ("regclass", [2218, 2219, 2452, 2453])),
    named(2206, "regtype", "regtype", 4, "N", 2211, ("regtype", [2220, 2221, 2454, 2455])),
    named(2249, "record", "record", -1, "P", 2287, ("record_", [2290, 2291, 2402, 2403])),
    named(2275, "cstring", "cstring", -2, "P", 1263, ("cstring_", [2292, 2293, 2500, 2501])),
    named(2278, "void", "void", 4, "P", 0, ("void_", [2298, 2299, 3120, 3121])),
    named(2950, "uuid", "uuid", 16, "U", 2951, ("uuid_", [2952, 2953, 2961, 2962])),
    named(3802, "jsonb", "jsonb", -1, "U", 3807, ("jsonb_", [3806, 3804, 3805, 3803])),
    named(4089, "regnamespace", "regnamespace", 4, "N", 4090, ("regnamespace", [4084, 4085, 4087, 4088])),
];

/// The type with this number, and whether it is the type of its lists that has it.
pub(crate) fn of_oid(oid: u32) -> Option<(&'static Named, bool)> {
    let found = NAMES.iter().find(|named| named.oid == oid).map(|named| (named, false));
    found.or_else(|| NAMES.iter().find(|named| oid != 0 && named.list == oid).map(|named| (named, true)))
}

/// The number of a type by one of its names, with `[]` after it for its lists.
pub(crate) fn by_name(name: &str) -> Option<u32> {
    let name = name.trim().to_lowercase();
    let name = name.strip_prefix("pg_catalog.").unwrap_or(&name);
    let (name, is_list) = match name.strip_suffix("[]").or_else(|| name.strip_prefix('_')) {
        Some(name) => (name, true),
        None => (name, false),
    };
    let other = match name {
        "int" => "int4",
        "float" | "double" => "float8",
        "decimal" => "numeric",
        "string" => "text",
        name => name,
    };
    let found = NAMES.iter().find(|named| named.name == other || named.sql == other)?;
    Some(if is_list { found.list } else { found.oid })
}

/// The type of a column with its modifier, as `server::pgwire` sends its values.
pub(crate) fn of_arrow(data_type: &DataType) -> (u32, i64) {
    let plain = |oid| (oid, -1);
    match data_type {
        DataType::Boolean => plain(16),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => plain(21),
        DataType::Int32 | DataType::UInt16 => plain(23),
        DataType::Int64 => plain(20),
        DataType::UInt32 => plain(26),
        DataType::UInt64 => plain(1700),
        DataType::Float16 | DataType::Float32 => plain(700),
        DataType::Float64 => plain(701),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            (1700, ((i64::from(*precision) << 16) | (i64::from(*scale) & 0x7ff)) + 4)
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => plain(17),
        DataType::Date32 | DataType::Date64 => plain(1082),
        DataType::Time32(_) | DataType::Time64(_) => plain(1083),
        DataType::Timestamp(_, None) => plain(1114),
        DataType::Timestamp(_, Some(_)) => plain(1184),
        DataType::Interval(_) | DataType::Duration(_) => plain(1186),
        DataType::Struct(_) | DataType::Map(..) => plain(114),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            match of_arrow(item.data_type()).0 {
                114 => plain(114),
                oid => match of_oid(oid) {
                    Some((_, true)) => plain(oid),
                    Some((named, false)) => plain(named.list),
                    None => plain(1009),
                },
            }
        }
        _ => plain(25),
    }
}

/// A type as SQL writes it: `numeric(10,2)`, `text[]`; what has no number here is `???`, as PostgreSQL says.
pub(crate) fn format(oid: u32, modifier: Option<i64>) -> String {
    let Some((named, is_list)) = of_oid(oid) else {
        return if oid == 0 { "-" } else { "???" }.to_owned();
    };
    let modifier = modifier.filter(|modifier| *modifier >= 4).map(|modifier| modifier - 4);
    let text = match (named.oid, modifier) {
        (1700, Some(modifier)) => format!("numeric({},{})", (modifier >> 16) & 0xffff, modifier & 0x7ff),
        (1043 | 1042, Some(length)) => format!("{}({length})", named.sql),
        _ => named.sql.to_owned(),
    };
    if is_list { format!("{text}[]") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(25, None, "text")]
    #[case(1009, None, "text[]")]
    #[case(1700, Some(((10 << 16) | 2) + 4), "numeric(10,2)")]
    #[case(1184, Some(-1), "timestamp with time zone")]
    #[case(99_999, None, "???")]
    fn a_type_is_written_as_sql_writes_it(#[case] oid: u32, #[case] modifier: Option<i64>, #[case] expected: &str) {
        assert_eq!(format(oid, modifier), expected);
    }

    #[rstest]
    #[case("text", Some(25))]
    #[case("pg_catalog.int4[]", Some(1007))]
    #[case("_text", Some(1009))]
    #[case("double precision", Some(701))]
    #[case("geometry", None)]
    fn a_type_is_found_by_its_names(#[case] name: &str, #[case] oid: Option<u32>) {
        assert_eq!(by_name(name), oid);
    }
}
