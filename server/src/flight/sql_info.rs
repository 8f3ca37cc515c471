//! `CommandGetSqlInfo`: what the server can do, every code with the type that its definition asks for.

use arrow_flight::{
    FlightDescriptor, FlightInfo,
    flight_service_server::FlightService,
    sql::{
        CommandGetSqlInfo, SqlInfo, SqlNullOrdering, SqlOuterJoinsSupportLevel, SqlSupportedCaseSensitivity,
        SqlSupportedGroupBy, SqlSupportedResultSetConcurrency, SqlSupportedResultSetType, SqlSupportedSubqueries,
        SqlSupportedTransaction, SqlSupportedUnions, SqlSupportsConvert, SqlTransactionIsolationLevel,
        SupportedSqlGrammar,
        metadata::{SqlInfoData, SqlInfoDataBuilder},
    },
};
use tonic::{Response, Status};

use super::{rows, service::Commands};

/// Sorted lists of words, as JDBC asks for them: functions by family, and keywords beyond SQL:2003.
const NUMERIC: &[&str] = &[
    "abs",
    "acos",
    "asin",
    "atan",
    "atan2",
    "cbrt",
    "ceil",
    "cos",
    "cosh",
    "cot",
    "degrees",
    "exp",
    "factorial",
    "floor",
    "gcd",
    "isnan",
    "iszero",
    "lcm",
    "ln",
    "log",
    "log10",
    "log2",
    "nanvl",
    "pi",
    "power",
    "radians",
    "random",
    "round",
    "signum",
    "sin",
    "sinh",
    "sqrt",
    "tan",
    "tanh",
    "trunc",
];
const STRING: &[&str] = &[
    "ascii",
    "bit_length",
    "btrim",
    "character_length",
    "chr",
    "concat",
    "concat_ws",
    "contains",
    "ends_with",
    "initcap",
    "left",
    "levenshtein",
    "lower",
    "lpad",
    "ltrim",
    "md5",
    "octet_length",
    "overlay",
    "regexp_like",
    "regexp_match",
    "regexp_replace",
    "repeat",
    "replace",
    "reverse",
    "right",
    "rpad",
    "rtrim",
    "sha256",
    "split_part",
    "starts_with",
    "strpos",
    "substr",
    "substr_index",
    "to_hex",
    "translate",
    "trim",
    "upper",
    "uuid",
];
const SYSTEM: &[&str] =
    &["arrow_cast", "arrow_typeof", "coalesce", "greatest", "least", "nullif", "nvl", "nvl2", "version"];
const DATETIME: &[&str] = &[
    "current_date",
    "current_time",
    "date_bin",
    "date_part",
    "date_trunc",
    "extract",
    "from_unixtime",
    "make_date",
    "now",
    "to_char",
    "to_date",
    "to_timestamp",
    "to_unixtime",
];
const KEYWORDS: &[&str] =
    &["DESCRIBE", "EXPLAIN", "ILIKE", "LIMIT", "OFFSET", "QUALIFY", "SHOW", "TIMESTAMP AS OF", "VERSION AS OF"];

pub(super) fn info(query: &CommandGetSqlInfo, descriptor: FlightDescriptor) -> Result<Response<FlightInfo>, Status> {
    rows::info(query, SqlInfoDataBuilder::schema(), descriptor)
}

pub(super) fn get(
    commands: &Commands,
    query: CommandGetSqlInfo,
) -> Result<Response<<Commands as FlightService>::DoGetStream>, Status> {
    let timeout = commands.app.config.query.time_seconds.saturating_mul(1000);
    let data = data(i32::try_from(timeout).unwrap_or(i32::MAX))?;
    let batch = rows::built(query.into_builder(&data).build())?;
    rows::whole(batch)
}

/// A set of members of an enumeration.
fn bits(members: &[i32]) -> i32 {
    members.iter().fold(0, |set, member| set | (1 << member))
}

fn data(timeout_ms: i32) -> Result<SqlInfoData, Status> {
    use SqlInfo as I;
    let mut b = SqlInfoDataBuilder::new();
    b.append(I::FlightSqlServerName, "Mavis");
    b.append(I::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    b.append(I::FlightSqlServerArrowVersion, arrow::ARROW_VERSION);
    // Tables and views of `work` can be written.
    b.append(I::FlightSqlServerReadOnly, false);
    b.append(I::FlightSqlServerSql, true);
    b.append(I::FlightSqlServerSubstrait, false);
    b.append(I::FlightSqlServerSubstraitMinVersion, "");
    b.append(I::FlightSqlServerSubstraitMaxVersion, "");
    b.append(I::FlightSqlServerTransaction, SqlSupportedTransaction::None as i32);
    b.append(I::FlightSqlServerCancel, true);
    b.append(I::FlightSqlServerBulkIngestion, true);
    b.append(I::FlightSqlServerIngestTransactionsSupported, false);
    b.append(I::FlightSqlServerStatementTimeout, timeout_ms);
    b.append(I::FlightSqlServerTransactionTimeout, 0_i32);
    // Unquoted names match whatever their case; quoted ones as they are written.
    b.append(I::SqlIdentifierCase, SqlSupportedCaseSensitivity::SqlCaseSensitivityCaseInsensitive as i32);
    b.append(I::SqlIdentifierQuoteChar, "\"");
    b.append(I::SqlQuotedIdentifierCase, SqlSupportedCaseSensitivity::SqlCaseSensitivityUnknown as i32);
    b.append(I::SqlNullOrdering, SqlNullOrdering::SqlNullsSortedHigh as i32);
    b.append(I::SqlKeywords, KEYWORDS);
    b.append(I::SqlNumericFunctions, NUMERIC);
    b.append(I::SqlStringFunctions, STRING);
    b.append(I::SqlSystemFunctions, SYSTEM);
    b.append(I::SqlDatetimeFunctions, DATETIME);
    b.append(I::SqlSearchStringEscape, "\\");
    b.append(I::SqlExtraNameCharacters, "");
    b.append(I::SqlSupportsConvert, converts());
    b.append(
        I::SqlSupportedGroupBy,
        bits(&[SqlSupportedGroupBy::SqlGroupByUnrelated as i32, SqlSupportedGroupBy::SqlGroupByBeyondSelect as i32]),
    );
    let grammar = [
        SupportedSqlGrammar::SqlMinimumGrammar,
        SupportedSqlGrammar::SqlCoreGrammar,
        SupportedSqlGrammar::SqlExtendedGrammar,
    ];
    b.append(I::SqlSupportedGrammar, bits(&grammar.map(|member| member as i32)));
    // ANSI92_ENTRY_SQL and ANSI92_INTERMEDIATE_SQL.
    b.append(I::SqlAnsi92SupportedLevel, bits(&[0, 1]));
    b.append(
        I::SqlOuterJoinsSupportLevel,
        bits(&[
            SqlOuterJoinsSupportLevel::SqlLimitedOuterJoins as i32,
            SqlOuterJoinsSupportLevel::SqlFullOuterJoins as i32,
        ]),
    );
    b.append(I::SqlSchemaTerm, "schema");
    b.append(I::SqlProcedureTerm, "procedure");
    b.append(I::SqlCatalogTerm, "zone");
    b.append(I::SqlCatalogAtStart, true);
    let subqueries = [
        SqlSupportedSubqueries::SqlSubqueriesInComparisons,
        SqlSupportedSubqueries::SqlSubqueriesInExists,
        SqlSupportedSubqueries::SqlSubqueriesInIns,
    ];
    b.append(I::SqlSupportedSubqueries, bits(&subqueries.map(|member| member as i32)));
    b.append(
        I::SqlSupportedUnions,
        bits(&[SqlSupportedUnions::SqlUnion as i32, SqlSupportedUnions::SqlUnionAll as i32]),
    );
    b.append(I::SqlDefaultTransactionIsolation, SqlTransactionIsolationLevel::SqlTransactionNone as i32);
    b.append(
        I::SqlSupportedTransactionsIsolationLevels,
        bits(&[SqlTransactionIsolationLevel::SqlTransactionNone as i32]),
    );
    let forward_only = SqlSupportedResultSetType::SqlResultSetTypeForwardOnly as i32;
    let read_only = SqlSupportedResultSetConcurrency::SqlResultSetConcurrencyReadOnly as i32;
    b.append(I::SqlSupportedResultSetTypes, bits(&[forward_only]));
    b.append(I::SqlSupportedConcurrenciesForResultSetForwardOnly, bits(&[read_only]));
    for (code, value) in FLAGS {
        b.append(*code, *value);
    }
    for code in NONE_OF_THEM {
        b.append(*code, 0_i32);
    }
    for code in UNLIMITED {
        b.append(*code, 0_i64);
    }
    b.append(I::SqlMaxStatements, 0_i64);
    rows::built(b.build())
}

const FLAGS: &[(SqlInfo, bool)] = &[
    (SqlInfo::SqlDdlCatalog, false),
    (SqlInfo::SqlDdlSchema, false),
    (SqlInfo::SqlDdlTable, true),
    // What may not be read is not listed.
    (SqlInfo::SqlAllTablesAreSelectable, true),
    (SqlInfo::SqlSupportsColumnAliasing, true),
    (SqlInfo::SqlNullPlusNullIsNull, true),
    (SqlInfo::SqlSupportsTableCorrelationNames, true),
    (SqlInfo::SqlSupportsDifferentTableCorrelationNames, false),
    (SqlInfo::SqlSupportsExpressionsInOrderBy, true),
    (SqlInfo::SqlSupportsOrderByUnrelated, true),
    (SqlInfo::SqlSupportsLikeEscapeClause, true),
    (SqlInfo::SqlSupportsNonNullableColumns, true),
    (SqlInfo::SqlSupportsIntegrityEnhancementFacility, false),
    (SqlInfo::SqlSelectForUpdateSupported, false),
    (SqlInfo::SqlStoredProceduresSupported, false),
    (SqlInfo::SqlCorrelatedSubqueriesSupported, true),
    (SqlInfo::SqlMaxRowSizeIncludesBlobs, true),
    (SqlInfo::SqlTransactionsSupported, false),
    (SqlInfo::SqlDataDefinitionCausesTransactionCommit, false),
    (SqlInfo::SqlDataDefinitionsInTransactionsIgnored, false),
    (SqlInfo::SqlBatchUpdatesSupported, true),
    (SqlInfo::SqlSavepointsSupported, false),
    (SqlInfo::SqlNamedParametersSupported, false),
    (SqlInfo::SqlLocatorsUpdateCopy, false),
    (SqlInfo::SqlStoredFunctionsUsingCallSyntaxSupported, false),
];

/// Sets with no member.
const NONE_OF_THEM: &[SqlInfo] = &[
    SqlInfo::SqlSchemasSupportedActions,
    SqlInfo::SqlCatalogsSupportedActions,
    SqlInfo::SqlSupportedPositionedCommands,
    SqlInfo::SqlSupportedConcurrenciesForResultSetUnspecified,
    SqlInfo::SqlSupportedConcurrenciesForResultSetScrollSensitive,
    SqlInfo::SqlSupportedConcurrenciesForResultSetScrollInsensitive,
];

/// Lengths and numbers without a limit, which is written 0.
const UNLIMITED: &[SqlInfo] = &[
    SqlInfo::SqlMaxBinaryLiteralLength,
    SqlInfo::SqlMaxCharLiteralLength,
    SqlInfo::SqlMaxColumnNameLength,
    SqlInfo::SqlMaxColumnsInGroupBy,
    SqlInfo::SqlMaxColumnsInIndex,
    SqlInfo::SqlMaxColumnsInOrderBy,
    SqlInfo::SqlMaxColumnsInSelect,
    SqlInfo::SqlMaxColumnsInTable,
    SqlInfo::SqlMaxConnections,
    SqlInfo::SqlMaxCursorNameLength,
    SqlInfo::SqlMaxIndexLength,
    SqlInfo::SqlDbSchemaNameLength,
    SqlInfo::SqlMaxProcedureNameLength,
    SqlInfo::SqlMaxCatalogNameLength,
    SqlInfo::SqlMaxRowSize,
    SqlInfo::SqlMaxStatementLength,
    SqlInfo::SqlMaxTableNameLength,
    SqlInfo::SqlMaxTablesInSelect,
    SqlInfo::SqlMaxUsernameLength,
];

/// Which types can be cast to which.
fn converts() -> std::collections::BTreeMap<i32, Vec<i32>> {
    use SqlSupportsConvert as C;
    let numbers = [
        C::SqlConvertBigint,
        C::SqlConvertBit,
        C::SqlConvertDecimal,
        C::SqlConvertFloat,
        C::SqlConvertInteger,
        C::SqlConvertNumeric,
        C::SqlConvertReal,
        C::SqlConvertSmallint,
        C::SqlConvertTinyint,
    ];
    let texts = [C::SqlConvertChar, C::SqlConvertLongvarchar, C::SqlConvertVarchar];
    let times = [C::SqlConvertDate, C::SqlConvertTime, C::SqlConvertTimestamp];
    let binaries = [C::SqlConvertBinary, C::SqlConvertLongvarbinary, C::SqlConvertVarbinary];
    let codes = |groups: &[&[C]]| groups.concat().into_iter().map(|code| code as i32).collect::<Vec<_>>();
    let mut map = std::collections::BTreeMap::new();
    for from in numbers {
        map.insert(from as i32, codes(&[&numbers, &texts]));
    }
    for from in texts {
        map.insert(from as i32, codes(&[&numbers, &texts, &times, &binaries]));
    }
    for from in times {
        map.insert(from as i32, codes(&[&texts, &times]));
    }
    for from in binaries {
        map.insert(from as i32, codes(&[&texts, &binaries]));
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_answered() {
        let codes = (0..=11).chain(100..=101).chain(500..=576);
        let missing: Vec<u32> =
            codes.filter(|code| data(1).unwrap().record_batch([*code]).unwrap().num_rows() != 1).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
