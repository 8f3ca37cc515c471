//! `CommandGetXdbcTypeInfo`: the SQL types that columns have.

use arrow_flight::{
    FlightDescriptor, FlightInfo,
    flight_service_server::FlightService,
    sql::{
        CommandGetXdbcTypeInfo, Nullable, Searchable, XdbcDataType, XdbcDatetimeSubcode,
        metadata::{XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder},
    },
};
use tonic::{Response, Status};

use super::{rows, service::Commands};

pub(super) fn info(
    query: &CommandGetXdbcTypeInfo,
    descriptor: FlightDescriptor,
) -> Result<Response<FlightInfo>, Status> {
    rows::info(query, &data()?.schema(), descriptor)
}

pub(super) fn get(query: CommandGetXdbcTypeInfo) -> Result<Response<<Commands as FlightService>::DoGetStream>, Status> {
    rows::whole(rows::built(query.into_builder(&data()?).build())?)
}

fn data() -> Result<XdbcTypeInfoData, Status> {
    let mut builder = XdbcTypeInfoDataBuilder::new();
    for info in types() {
        builder.append(info);
    }
    rows::built(builder.build())
}

/// Digits, or characters, that a type holds: 2^31 - 1 where it has no bound.
const UNBOUNDED: i32 = i32::MAX;

fn types() -> Vec<XdbcTypeInfo> {
    let mut types = vec![
        XdbcTypeInfo { searchable: Searchable::Basic, ..plain("BOOLEAN", XdbcDataType::XdbcBit, 1) },
        number("TINYINT", XdbcDataType::XdbcTinyint, 3, false),
        number("SMALLINT", XdbcDataType::XdbcSmallint, 5, false),
        number("INTEGER", XdbcDataType::XdbcInteger, 10, false),
        number("BIGINT", XdbcDataType::XdbcBigint, 19, false),
        number("TINYINT UNSIGNED", XdbcDataType::XdbcTinyint, 3, true),
        number("SMALLINT UNSIGNED", XdbcDataType::XdbcSmallint, 5, true),
        number("INTEGER UNSIGNED", XdbcDataType::XdbcInteger, 10, true),
        number("BIGINT UNSIGNED", XdbcDataType::XdbcBigint, 20, true),
        // Of approximate numbers the size is told in bits.
        XdbcTypeInfo { num_prec_radix: Some(2), ..number("REAL", XdbcDataType::XdbcReal, 24, false) },
        XdbcTypeInfo { num_prec_radix: Some(2), ..number("DOUBLE", XdbcDataType::XdbcDouble, 53, false) },
        XdbcTypeInfo {
            create_params: Some(vec!["precision".to_owned(), "scale".to_owned()]),
            fixed_prec_scale: true,
            minimum_scale: Some(0),
            maximum_scale: Some(38),
            ..number("DECIMAL", XdbcDataType::XdbcDecimal, 38, false)
        },
        XdbcTypeInfo {
            case_sensitive: true,
            literal_prefix: Some("'".to_owned()),
            literal_suffix: Some("'".to_owned()),
            ..plain("VARCHAR", XdbcDataType::XdbcVarchar, UNBOUNDED)
        },
        XdbcTypeInfo {
            searchable: Searchable::Basic,
            literal_prefix: Some("X'".to_owned()),
            literal_suffix: Some("'".to_owned()),
            ..plain("VARBINARY", XdbcDataType::XdbcVarbinary, UNBOUNDED)
        },
    ];
    let times = [
        ("DATE", "DATE '", XdbcDataType::XdbcDate, 10, None),
        ("TIME", "TIME '", XdbcDataType::XdbcTime, 15, Some(XdbcDatetimeSubcode::XdbcSubcodeTime)),
        ("TIMESTAMP", "TIMESTAMP '", XdbcDataType::XdbcTimestamp, 29, Some(XdbcDatetimeSubcode::XdbcSubcodeTimestamp)),
    ];
    types.extend(times.map(|(name, prefix, kind, size, subcode)| XdbcTypeInfo {
        literal_prefix: Some(prefix.to_owned()),
        literal_suffix: Some("'".to_owned()),
        sql_data_type: XdbcDataType::XdbcDatetime,
        datetime_subcode: subcode,
        ..plain(name, kind, size)
    }));
    types
}

fn plain(name: &str, kind: XdbcDataType, size: i32) -> XdbcTypeInfo {
    XdbcTypeInfo {
        type_name: name.to_owned(),
        data_type: kind,
        sql_data_type: kind,
        column_size: Some(size),
        nullable: Nullable::NullabilityNullable,
        searchable: Searchable::Full,
        local_type_name: Some(name.to_owned()),
        ..XdbcTypeInfo::default()
    }
}

fn number(name: &str, kind: XdbcDataType, digits: i32, unsigned: bool) -> XdbcTypeInfo {
    XdbcTypeInfo {
        unsigned_attribute: Some(unsigned),
        auto_increment: Some(false),
        num_prec_radix: Some(10),
        searchable: Searchable::Basic,
        ..plain(name, kind, digits)
    }
}
