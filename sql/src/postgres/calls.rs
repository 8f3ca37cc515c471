//! What calls of PostgreSQL's functions mean.

use datafusion::sql::sqlparser::{
    ast::{DataType, Expr, Function, Ident, ObjectName, ObjectNamePart},
    dialect::PostgreSqlDialect,
    parser::Parser,
};

use super::{
    ast::{
        arguments, array, call, cast, column_of, is_catalog, last, meant, null, number, parsed, quoted, text, truth,
    },
    path::text_of,
    rewrite::Rewriter,
};
use crate::system;

/// What `version()` says: the first word and the number are what clients read.
const VERSION: &str = "PostgreSQL 15.8 (Mavis)";

impl Rewriter<'_> {
    /// What a call means; `None` leaves it as it is.
    pub(super) fn function(&mut self, of: &mut Function) -> Option<Expr> {
        let name = last(&of.name);
        let is_own = match of.name.0.as_slice() {
            [_] => true,
            [schema, _] => schema.as_ident().is_some_and(|schema| {
                schema.value.eq_ignore_ascii_case(system::PG_CATALOG)
                    || schema.value.eq_ignore_ascii_case(system::INFORMATION)
            }),
            _ => false,
        };
        if !is_own {
            return None;
        }
        if of.name.0.len() == 2 {
            of.name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new(&name))]);
        }
        let arguments = arguments(of).unwrap_or_default();
        let told = self.of_session(&name, &arguments);
        if told.is_some() {
            self.is_lasting = false;
            return told;
        }
        Some(match name.as_str() {
            "version" => text(VERSION),
            // (Hive's is that of a population.)
            "variance" => {
                of.name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new("var_samp"))]);
                return None;
            }
            "obj_description" => self.description(arguments.first()?, &number(0)),
            "col_description" => self.description(arguments.first()?, arguments.get(1)?),
            "pg_get_constraintdef" => self.definition("pg_constraint", ("oid", "definition__"), arguments.first()?),
            "pg_get_indexdef" => match arguments.get(1).filter(|column| column.to_string() != "0") {
                Some(column) => self.column_of_index(arguments.first()?, column),
                None => self.definition("pg_index", ("indexrelid", "definition__"), arguments.first()?),
            },
            "pg_get_viewdef" => {
                let view = arguments.first()?;
                let named = text_of(view).is_some().then(|| call("regclass_in", vec![view.clone()]));
                self.definition("pg_rewrite", ("ev_class", "ev_action"), named.as_ref().unwrap_or(view))
            }
            "getdatabaseencoding" | "pg_client_encoding" => text("UTF8"),
            "pg_encoding_to_char" => text("UTF8"),
            "pg_char_to_encoding" => number(6),
            "pg_relation_size"
            | "pg_total_relation_size"
            | "pg_table_size"
            | "pg_database_size"
            | "pg_indexes_size"
            | "pg_tablespace_size"
            | "pg_stat_get_numscans" => cast(number(0), DataType::BigInt(None)),
            "pg_is_in_recovery"
            | "pg_is_wal_replay_paused"
            | "pg_is_in_backup"
            | "pg_is_other_temp_schema"
            | "pg_relation_is_publishable"
            | "row_security_active" => truth(false),
            "pg_blocking_pids" => cast(array(Vec::new()), parsed("int[]")?),
            "bpchar" | "text" if arguments.len() == 1 => cast(arguments.first()?.clone(), DataType::Text),
            "pg_my_temp_schema" | "txid_current" | "pg_current_xact_id" | "pg_trigger_depth" => number(0),
            "pg_postmaster_start_time" | "pg_conf_load_time" | "statement_timestamp" | "transaction_timestamp" => {
                call("now", Vec::new())
            }
            "pg_typeof" => call("arrow_typeof", arguments),
            "to_regclass" | "regclass" => call("regclass_in", arguments),
            "to_regtype" => call("regtype_in", arguments),
            "array_lower" => number(1),
            "array_upper" => cast(call("array_length", vec![arguments.first()?.clone()]), DataType::BigInt(None)),
            "generate_subscripts" => {
                let length = call("array_length", vec![arguments.first()?.clone()]);
                call("unnest", vec![call("generate_series", vec![number(1), cast(length, DataType::BigInt(None))])])
            }
            "_pg_expandarray" => call("unnest", vec![call("pg_expandarray__", arguments)]),
            "pg_table_is_visible" | "pg_get_userbyid" | "format_type" | "pg_size_pretty" => return None,
            "pg_has_role" => truth(may(&arguments)),
            "age" if arguments.len() == 1 => {
                let of_row = arguments.first().filter(|value| is_transaction(value))?;
                // Rows of catalogs are as old as PostgreSQL's frozen ones. What is asked about stays, for its parameters.
                self.asked(&format!("CASE WHEN {of_row} IS NULL THEN NULL ELSE {FROZEN} END"))
            }
            "pg_indexam_has_property" | "pg_index_has_property" | "pg_index_column_has_property" => {
                self.of_index(&name, &arguments)
            }
            name if name.starts_with("has_") && name.ends_with("_privilege") => truth(may(&arguments)),
            name if name.ends_with("_is_visible") => truth(true),
            name if name.starts_with("pg_") && name != "pg_expandarray__" => cast(null(), DataType::Text),
            "inet_client_addr" | "inet_server_addr" | "shobj_description" => cast(null(), DataType::Text),
            _ => return None,
        })
    }

    /// Functions that tell of the connection.
    pub(super) fn of_session(&self, name: &str, arguments: &[Expr]) -> Option<Expr> {
        let own = self.own;
        Some(match name {
            "current_database" | "current_catalog" => text(&own.database),
            "current_schema" => own.path.first().map_or_else(|| cast(null(), DataType::Text), |schema| text(schema)),
            "current_schemas" => {
                let all = arguments.first().is_some_and(|whole| whole.to_string().eq_ignore_ascii_case("true"));
                let implied = all.then_some(system::PG_CATALOG);
                array(implied.into_iter().chain(own.path.iter().map(String::as_str)).map(text).collect())
            }
            "current_user" | "session_user" | "user" | "current_role" | "system_user" => text(&own.user),
            "pg_backend_pid" => number(i64::from(own.process)),
            "current_setting" => {
                let wanted = arguments.first().and_then(text_of)?;
                let found = own.settings.iter().find(|(name, _)| name.eq_ignore_ascii_case(&wanted));
                found.map_or_else(|| cast(null(), DataType::Text), |(_, value)| text(value))
            }
            // What a client sets this way is set by the door where the statement is nothing else.
            "set_config" => arguments.get(1)?.clone(),
            _ => return None,
        })
    }

    /// The comment of an object.
    fn description(&self, object: &Expr, column: &Expr) -> Expr {
        if self.collecting > 0 {
            return cast(null(), DataType::Text);
        }
        self.asked(&format!(
            "(SELECT max(d__) FROM (SELECT objoid AS o__, objsubid AS s__, description AS d__ FROM {}.pg_catalog.pg_description) \
             WHERE o__ = {object} AND s__ = {column})",
            quoted(&self.own.database)
        ))
    }

    /// How a key or a view is defined.
    fn definition(&self, catalog: &str, (key, definition): (&str, &str), object: &Expr) -> Expr {
        if self.collecting > 0 {
            return cast(null(), DataType::Text);
        }
        self.asked(&format!(
            "(SELECT max(d__) FROM (SELECT {key} AS o__, {definition} AS d__ FROM {}.pg_catalog.{catalog}) WHERE o__ = {object})",
            quoted(&self.own.database)
        ))
    }

    /// A column of an index, by its place.
    fn column_of_index(&self, index: &Expr, place: &Expr) -> Expr {
        // Beside the index itself no other table needs to be asked.
        if let Expr::CompoundIdentifier(idents) = index
            && let [table, column] = idents.as_slice()
            && meant(column) == "indexrelid"
            && let Some((_, found)) = self.around.last().into_iter().flatten().find(|(name, _)| *name == meant(table))
            && is_catalog(found, "pg_index")
        {
            let columns = Expr::CompoundIdentifier(vec![table.clone(), Ident::new("columns__")]);
            return call("array_element", vec![columns, place.clone()]);
        }
        if self.collecting > 0 {
            return cast(null(), DataType::Text);
        }
        self.asked(&format!(
            "(SELECT max(d__) FROM (SELECT attrelid AS o__, attnum AS s__, attname AS d__ FROM {}.pg_catalog.pg_attribute) \
             WHERE o__ = {index} AND s__ = {place})",
            quoted(&self.own.database)
        ))
    }

    /// What an index can do: all there are order the columns of a key.
    fn of_index(&self, name: &str, arguments: &[Expr]) -> Expr {
        const CAN: [(&str, bool); 18] = [
            ("can_order", true),
            ("can_unique", true),
            ("can_multi_col", true),
            ("can_exclude", true),
            ("can_include", true),
            ("clusterable", true),
            ("index_scan", true),
            ("bitmap_scan", true),
            ("backward_scan", true),
            ("asc", true),
            ("desc", false),
            ("nulls_first", false),
            ("nulls_last", true),
            ("orderable", true),
            ("distance_orderable", false),
            ("returnable", true),
            ("search_array", true),
            ("search_nulls", true),
        ];
        let wanted = arguments.last().and_then(text_of).unwrap_or_default();
        let known = CAN.iter().find(|(property, _)| wanted.eq_ignore_ascii_case(property)).map(|(_, can)| *can);
        let (Some(can), Some(of)) = (known, arguments.first()) else { return cast(null(), DataType::Boolean) };
        let is_index =
            if name == "pg_indexam_has_property" { format!("{of} = 403") } else { format!("{of} IS NOT NULL") };
        self.asked(&format!("CASE WHEN {is_index} THEN {can} END"))
    }

    fn asked(&self, sql: &str) -> Expr {
        let parsed = Parser::new(&PostgreSqlDialect {}).try_with_sql(sql).and_then(|mut parser| parser.parse_expr());
        parsed.unwrap_or_else(|_| cast(null(), DataType::Text))
    }
}

/// The age of rows that are older than every transaction.
const FROZEN: i32 = i32::MAX;

/// Whether a value is the number of a transaction: `age` of anything else is a distance between times.
fn is_transaction(value: &Expr) -> bool {
    match value {
        Expr::Nested(inner) => is_transaction(inner),
        Expr::Cast { data_type, .. } => {
            matches!(data_type.to_string().to_lowercase().as_str(), "xid" | "pg_catalog.xid" | "int unsigned")
        }
        other => {
            let columns = ["xmin", "xmax", "relfrozenxid", "datfrozenxid", "relminmxid", "datminmxid"];
            column_of(other).is_some_and(|name| columns.contains(&name.as_str()))
        }
    }
}

/// Whether everything that is asked for is to look: nothing of what is shown may be changed here.
fn may(arguments: &[Expr]) -> bool {
    let Some(wanted) = arguments.last().and_then(text_of) else { return true };
    wanted.split(',').all(|one| matches!(one.trim().to_lowercase().as_str(), "select" | "usage" | "connect" | "member"))
}
