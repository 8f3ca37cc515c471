//! `information_schema` with the columns and the words that PostgreSQL has there.

use async_stream::try_stream;
use futures::StreamExt;

use super::{
    Definition, Lines, PG_INFORMATION, Request,
    attributes::columns_of,
    grid::{Cell, Row, batch, schema},
    relations::{Relation, relations, schemas},
    types::{format, of_arrow, of_oid},
};

macro_rules! information {
    ($name:literal, $spec:expr, $read:expr) => {
        Definition {
            schema: PG_INFORMATION,
            table: $name,
            comment: "As PostgreSQL's view of this name.",
            for_admins: false,
            columns: || schema($spec),
            read: $read,
        }
    };
}

pub(super) static TABLES: [Definition; 15] = [
    information!("tables", TABLES_COLUMNS, |request| each(request, TABLES_COLUMNS, table)),
    information!("views", VIEWS_COLUMNS, |request| each(request, VIEWS_COLUMNS, view)),
    information!("schemata", SCHEMATA_COLUMNS, schemata),
    information!("columns", COLUMNS_COLUMNS, columns),
    information!("table_constraints", CONSTRAINTS_COLUMNS, |request| each(request, CONSTRAINTS_COLUMNS, constraint)),
    information!("key_column_usage", KEYS_COLUMNS, keys),
    information!("constraint_column_usage", USAGE_COLUMNS, keys_used),
    information!("referential_constraints", REFERENCES_COLUMNS, nothing),
    information!("check_constraints", CHECKS_COLUMNS, nothing),
    information!("routines", ROUTINES_COLUMNS, nothing),
    information!("parameters", PARAMETERS_COLUMNS, nothing),
    information!("triggers", TRIGGERS_COLUMNS, nothing),
    information!("sequences", SEQUENCES_COLUMNS, nothing),
    information!("character_sets", CHARACTER_SETS_COLUMNS, nothing),
    information!("table_privileges", PRIVILEGES_COLUMNS, |request| each(request, PRIVILEGES_COLUMNS, privilege)),
];

const TABLES_COLUMNS: &str = "table_catalog:text table_schema:text table_name:text table_type:text \
    self_referencing_column_name:text reference_generation:text user_defined_type_catalog:text user_defined_type_schema:text \
    user_defined_type_name:text is_insertable_into:text=NO is_typed:text=NO commit_action:text";
const VIEWS_COLUMNS: &str = "table_catalog:text table_schema:text table_name:text view_definition:text \
    check_option:text=NONE is_updatable:text=NO is_insertable_into:text=NO is_trigger_updatable:text=NO \
    is_trigger_deletable:text=NO is_trigger_insertable_into:text=NO";
const SCHEMATA_COLUMNS: &str = "catalog_name:text schema_name:text schema_owner:text=mavis \
    default_character_set_catalog:text default_character_set_schema:text default_character_set_name:text sql_path:text";
const COLUMNS_COLUMNS: &str = "table_catalog:text table_schema:text table_name:text column_name:text ordinal_position:int4 \
    column_default:text is_nullable:text data_type:text character_maximum_length:int4 character_octet_length:int4 \
    numeric_precision:int4 numeric_precision_radix:int4 numeric_scale:int4 datetime_precision:int4 interval_type:text \
    interval_precision:int4 character_set_catalog:text character_set_schema:text character_set_name:text \
    collation_catalog:text collation_schema:text collation_name:text domain_catalog:text domain_schema:text \
    domain_name:text udt_catalog:text udt_schema:text=pg_catalog udt_name:text scope_catalog:text scope_schema:text \
    scope_name:text maximum_cardinality:int4 dtd_identifier:text is_self_referencing:text=NO is_identity:text=NO \
    identity_generation:text identity_start:text identity_increment:text identity_maximum:text identity_minimum:text \
    identity_cycle:text=NO is_generated:text=NEVER generation_expression:text is_updatable:text=NO";
const CONSTRAINTS_COLUMNS: &str = "constraint_catalog:text constraint_schema:text constraint_name:text table_catalog:text \
    table_schema:text table_name:text constraint_type:text is_deferrable:text=NO initially_deferred:text=NO enforced:text=NO \
    nulls_distinct:text";
const KEYS_COLUMNS: &str = "constraint_catalog:text constraint_schema:text constraint_name:text table_catalog:text \
    table_schema:text table_name:text column_name:text ordinal_position:int4 position_in_unique_constraint:int4";
const USAGE_COLUMNS: &str = "table_catalog:text table_schema:text table_name:text column_name:text constraint_catalog:text \
    constraint_schema:text constraint_name:text";
const REFERENCES_COLUMNS: &str = "constraint_catalog:text constraint_schema:text constraint_name:text \
    unique_constraint_catalog:text unique_constraint_schema:text unique_constraint_name:text match_option:text \
    update_rule:text delete_rule:text";
const CHECKS_COLUMNS: &str = "constraint_catalog:text constraint_schema:text constraint_name:text check_clause:text";
const ROUTINES_COLUMNS: &str = "specific_catalog:text specific_schema:text specific_name:text routine_catalog:text \
    routine_schema:text routine_name:text routine_type:text data_type:text routine_definition:text external_language:text";
const PARAMETERS_COLUMNS: &str = "specific_catalog:text specific_schema:text specific_name:text ordinal_position:int4 \
    parameter_mode:text parameter_name:text data_type:text";
const TRIGGERS_COLUMNS: &str = "trigger_catalog:text trigger_schema:text trigger_name:text event_manipulation:text \
    event_object_schema:text event_object_table:text action_statement:text action_timing:text";
const SEQUENCES_COLUMNS: &str = "sequence_catalog:text sequence_schema:text sequence_name:text data_type:text \
    start_value:text minimum_value:text maximum_value:text increment:text cycle_option:text";
const CHARACTER_SETS_COLUMNS: &str = "character_set_catalog:text character_set_schema:text character_set_name:text \
    character_repertoire:text form_of_use:text default_collate_name:text";
const PRIVILEGES_COLUMNS: &str = "grantor:text=mavis grantee:text table_catalog:text table_schema:text table_name:text \
    privilege_type:text=SELECT is_grantable:text=NO with_hierarchy:text=NO";

fn nothing(_: Request) -> Lines {
    Box::pin(futures::stream::empty())
}

fn each(request: Request, spec: &'static str, row: fn(&Request, &Relation) -> Option<Row>) -> Lines {
    try_stream! {
        let mut pages = relations(request.clone(), "", "table_name");
        while let Some(page) = pages.next().await {
            let rows: Vec<Row> = page?.iter().filter_map(|relation| row(&request, relation)).collect();
            yield batch(spec, &rows)?;
        }
    }
    .boxed()
}

fn catalog(request: &Request) -> Cell {
    request.only_catalog.as_deref().into()
}

fn place(request: &Request, relation: &Relation) -> Row {
    vec![
        ("table_catalog", catalog(request)),
        ("table_schema", relation.schema.as_str().into()),
        ("table_name", relation.name.as_str().into()),
    ]
}

fn table(request: &Request, relation: &Relation) -> Option<Row> {
    let mut row = place(request, relation);
    row.push(("table_type", if relation.kind == "v" { "VIEW" } else { "BASE TABLE" }.into()));
    Some(row)
}

fn view(request: &Request, relation: &Relation) -> Option<Row> {
    (relation.kind == "v").then(|| {
        let mut row = place(request, relation);
        row.push(("view_definition", relation.query(&request.principal).into()));
        row
    })
}

fn privilege(request: &Request, relation: &Relation) -> Option<Row> {
    let mut row = place(request, relation);
    row.push(("grantee", request.principal.name.as_str().into()));
    Some(row)
}

fn constraint_of(request: &Request, relation: &Relation) -> Row {
    let mut row = place(request, relation);
    row.push(("constraint_catalog", catalog(request)));
    row.push(("constraint_schema", relation.schema.as_str().into()));
    row.push(("constraint_name", format!("{}_pkey", relation.name).into()));
    row
}

fn constraint(request: &Request, relation: &Relation) -> Option<Row> {
    (!relation.key.is_empty()).then(|| {
        let mut row = constraint_of(request, relation);
        row.push(("constraint_type", "PRIMARY KEY".into()));
        row
    })
}

fn keys(request: Request) -> Lines {
    of_keys(request, KEYS_COLUMNS)
}

fn keys_used(request: Request) -> Lines {
    of_keys(request, USAGE_COLUMNS)
}

fn of_keys(request: Request, spec: &'static str) -> Lines {
    try_stream! {
        let mut pages = relations(request.clone(), "", "table_name");
        while let Some(page) = pages.next().await {
            let mut rows: Vec<Row> = Vec::new();
            for relation in &page? {
                for (number, column) in (1_i64..).zip(&relation.key) {
                    let mut row = constraint_of(&request, relation);
                    row.push(("column_name", column.as_str().into()));
                    row.push(("ordinal_position", number.into()));
                    rows.push(row);
                }
            }
            yield batch(spec, &rows)?;
        }
    }
    .boxed()
}

fn schemata(request: Request) -> Lines {
    try_stream! {
        let schemas = schemas(&request).await?.into_iter();
        let rows: Vec<Row> = schemas.map(|(_, name)| vec![("catalog_name", catalog(&request)), ("schema_name", name.into())]).collect();
        yield batch(SCHEMATA_COLUMNS, &rows)?;
    }
    .boxed()
}

fn columns(request: Request) -> Lines {
    try_stream! {
        let mut pages = relations(request.clone(), "", "table_name");
        while let Some(page) = pages.next().await {
            let mut rows: Vec<Row> = Vec::new();
            for relation in &page? {
                if request.equal("table_schema").is_some_and(|schema| schema != relation.schema)
                    || request.equal("table_name").is_some_and(|name| name != relation.name)
                {
                    continue;
                }
                for (number, column) in (1_i64..).zip(columns_of(&request, relation).await?) {
                    let (oid, modifier) = of_arrow(&column.data_type);
                    let (name, is_list) = of_oid(oid).map_or(("text", false), |(named, is_list)| (named.name, is_list));
                    let mut row = place(&request, relation);
                    row.extend([
                        ("column_name", column.name.into()),
                        ("ordinal_position", number.into()),
                        ("is_nullable", if column.nullable { "YES" } else { "NO" }.into()),
                        ("data_type", if is_list { "ARRAY".to_owned() } else { format(oid, None) }.into()),
                        ("udt_catalog", catalog(&request)),
                        ("udt_name", if is_list { format!("_{name}") } else { name.to_owned() }.into()),
                        ("dtd_identifier", number.to_string().into()),
                    ]);
                    row.extend(digits(oid, modifier));
                    rows.push(row);
                }
            }
            yield batch(COLUMNS_COLUMNS, &rows)?;
        }
    }
    .boxed()
}

/// How precise a number or a time is.
fn digits(oid: u32, modifier: i64) -> Row {
    let numeric = |precision: i64, radix: i64, scale: Option<i64>| {
        vec![
            ("numeric_precision", precision.into()),
            ("numeric_precision_radix", radix.into()),
            ("numeric_scale", scale.into()),
        ]
    };
    match oid {
        21 => numeric(16, 2, Some(0)),
        23 => numeric(32, 2, Some(0)),
        20 => numeric(64, 2, Some(0)),
        700 => numeric(24, 2, None),
        701 => numeric(53, 2, None),
        1700 if modifier >= 4 => numeric(((modifier - 4) >> 16) & 0xffff, 10, Some((modifier - 4) & 0x7ff)),
        1083 | 1114 | 1184 | 1186 => vec![("datetime_precision", Cell::Int(6))],
        1082 => vec![("datetime_precision", Cell::Int(0))],
        _ => Vec::new(),
    }
}
