//! A mapping's statement over the tables that it reads.

use std::sync::Arc;

use datafusion::{
    catalog::TableProvider,
    common::TableReference,
    prelude::{DataFrame, SessionContext},
    sql::sqlparser::{
        ast::{Expr, Visit, Visitor},
        dialect::GenericDialect,
        parser::Parser,
    },
};
use mavis_fhir::{
    functions::{self, UnknownCodes},
    mapping::Mapping,
};
use mavis_types::{TableName, Zone};

use super::Rule;
use crate::{context::Context, failure::Failure, tables};

/// The processed tables that a mapping reads, the driving one first, each once.
///
/// # Errors
/// When the statement cannot be parsed, or reads a table outside of the processed zone.
pub(crate) fn inputs(mapping: &Mapping) -> Result<Vec<TableName>, Failure> {
    let session = SessionContext::new();
    let state = session.state();
    let dialect = state.config().options().sql_parser.dialect;
    let statement = state.sql_to_statement(&mapping.to_sql(), &dialect)?;
    let references = state.resolve_table_references(&statement)?;
    let mut named = Vec::new();
    for reference in references {
        named.push(table_name(&reference)?);
    }
    // The order is that of a set: put the first one of the text first.
    named.sort_by_key(|name: &TableName| {
        let text = mapping.from.to_lowercase();
        text.find(&format!("{}.{}", name.schema, name.table)).unwrap_or(usize::MAX)
    });
    named.dedup();
    if named.is_empty() {
        return Err(Failure::permanent("`from` names no table: write processed.<schema>.<table>"));
    }
    Ok(named)
}

fn table_name(reference: &TableReference) -> Result<TableName, Failure> {
    let (zone, schema, table) = match reference {
        TableReference::Full { catalog, schema, table } => (catalog.as_ref(), schema.as_ref(), table.as_ref()),
        TableReference::Partial { schema, table } => ("processed", schema.as_ref(), table.as_ref()),
        TableReference::Bare { table } => {
            return Err(Failure::Permanent(format!("`{table}`: write processed.<schema>.{table}")));
        }
    };
    match zone.parse::<Zone>() {
        Ok(Zone::Processed) => Ok(TableName::new(Zone::Processed, schema, table)),
        _ => Err(Failure::Permanent(format!("`{reference}`: mappings read tables of the zone `processed`"))),
    }
}

/// How often tables are named in the statement; a self join names one twice.
#[derive(Debug, Default)]
struct Relations(usize);

impl Visitor for Relations {
    type Break = ();

    fn pre_visit_relation(&mut self, _: &datafusion::sql::sqlparser::ast::ObjectName) -> std::ops::ControlFlow<()> {
        self.0 += 1;
        std::ops::ControlFlow::Continue(())
    }
}

/// Whether every resource comes from one row of one table, so that a changed row tells which resources changed.
pub(crate) fn is_row_by_row(mapping: &Mapping) -> bool {
    let Ok(statements) = Parser::parse_sql(&GenericDialect {}, &mapping.to_sql()) else { return false };
    let mut relations = Relations::default();
    let _whole = statements.visit(&mut relations);
    relations.0 == 1 && mapping.for_each.is_none()
}

/// The columns that the key is made of, sorted; as [`key_in_order`].
pub(crate) fn key_columns(mapping: &Mapping) -> Option<Vec<String>> {
    let mut columns = key_in_order(mapping)?;
    columns.sort();
    Some(columns)
}

/// The columns that the key is made of, where each part is a column and nothing else.
pub(crate) fn key_in_order(mapping: &Mapping) -> Option<Vec<String>> {
    let mut columns = Vec::new();
    for part in &mapping.key {
        let mut parser = Parser::new(&GenericDialect {}).try_with_sql(part).ok()?;
        let name = match parser.parse_expr().ok()? {
            Expr::Identifier(name) => name,
            Expr::CompoundIdentifier(mut names) => names.pop()?,
            _ => return None,
        };
        columns.push(if name.quote_style.is_some() { name.value } else { name.value.to_lowercase() });
    }
    Some(columns)
}

/// A mapping's session, with its functions and tables.
pub(crate) struct Planned {
    session: SessionContext,
    pub(crate) unknown: Arc<UnknownCodes>,
}

impl Planned {
    /// One partition: rows come in the same order each time.
    pub(crate) fn new(context: &Context, rule: &Rule) -> Self {
        let sessions = context.lake.sessions();
        let config = sessions.config().with_target_partitions(1);
        let session = SessionContext::new_with_state(sessions.builder(config).with_default_features().build());
        let unknown = Arc::new(UnknownCodes::default());
        for function in functions::for_mapping_counted(rule.source.id, Arc::clone(&rule.maps), Arc::clone(&unknown)) {
            session.register_udf(function);
        }
        Self { session, unknown }
    }

    pub(crate) fn session(&self) -> &SessionContext {
        &self.session
    }

    pub(crate) fn table(&self, name: &TableName, provider: Arc<dyn TableProvider>) -> Result<(), Failure> {
        tables::register(&self.session, name, provider)
    }

    pub(crate) async fn frame(&self, mapping: &Mapping) -> Result<DataFrame, Failure> {
        Ok(self.session.sql(&mapping.to_sql()).await?)
    }
}

/// The mapping that makes only the keys, of rows that it leaves out too.
pub(crate) fn keys_only(mapping: &Mapping, filtered: bool) -> Mapping {
    Mapping {
        set: Vec::new(),
        resource_json: None,
        filter: if filtered { mapping.filter.clone() } else { None },
        ..mapping.clone()
    }
}

#[cfg(test)]
mod tests {
    use mavis_fhir::ResourceType;
    use rstest::rstest;

    use super::*;

    fn mapping(from: &str, key: &[&str]) -> Mapping {
        Mapping {
            version: 1,
            resource: "Patient".parse::<ResourceType>().unwrap(),
            from: from.to_owned(),
            key: key.iter().map(|part| (*part).to_owned()).collect(),
            for_each: None,
            filter: None,
            set: Vec::new(),
            resource_json: None,
        }
    }

    #[rstest]
    #[case("processed.hms.patient p", &["p.patient_id"], &["patient"], true)]
    #[case("processed.hms.patient p LEFT JOIN processed.hms.clinic c ON p.c = c.id", &["p.patient_id"], &["patient", "clinic"], false)]
    #[case("processed.hms.patient p JOIN processed.hms.patient q ON p.a = q.b", &["p.patient_id"], &["patient"], false)]
    fn the_tables_of_a_mapping_are_found(
        #[case] from: &str,
        #[case] key: &[&str],
        #[case] tables: &[&str],
        #[case] row_by_row: bool,
    ) {
        let mapping = mapping(from, key);
        let names: Vec<String> = inputs(&mapping).unwrap().into_iter().map(|name| name.table).collect();
        assert_eq!(names, tables);
        assert_eq!(is_row_by_row(&mapping), row_by_row);
    }

    #[test]
    fn only_bare_columns_are_a_key_of_columns() {
        assert_eq!(key_columns(&mapping("processed.a.b", &["p.B", "a"])), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(key_columns(&mapping("processed.a.b", &["lower(p.b)"])), None);
    }

    #[rstest]
    #[case("raw.hms.patient p")]
    #[case("patient p")]
    fn tables_outside_of_the_processed_zone_are_refused(#[case] from: &str) {
        assert!(inputs(&mapping(from, &["p.id"])).is_err());
    }
}
