//! Which columns of a table flow into an expression of a mapping.

use std::{collections::BTreeSet, ops::ControlFlow};

use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, Ident, ObjectName, Query, SelectItem, SetExpr, Statement, TableFactor, Visit, Visitor,
};
use mavis_fhir::mapping::Mapping;
use mavis_types::{TableName, Zone, is_copy};

use crate::dialect::parse;

/// The columns of a table, or of the copy that the mapping reads, that an expression of the mapping is made from; `None`: it
/// cannot be told, so that each of them may be.
pub(super) fn columns(mapping: &Mapping, made_of: &str, table: &TableName) -> Option<BTreeSet<String>> {
    // An element of a list stands for the list that it is taken from.
    let each = mapping.for_each.as_deref().and_then(|each| {
        let at = each.to_ascii_lowercase().rfind(" as ")?;
        Some((each[..at].trim(), each[at + 4..].trim()))
    });
    let of_each = each.filter(|(_, alias)| mentions(made_of, alias)).map(|(list, _)| list);
    let mut found = of_expression(made_of, &mapping.from, table)?;
    if let Some(list) = of_each {
        found.extend(of_expression(list, &mapping.from, table)?);
    }
    Some(found)
}

fn of_expression(expression: &str, from: &str, table: &TableName) -> Option<BTreeSet<String>> {
    // each on a line of its own: a comment ends with its line
    let text = format!("SELECT (\n{expression}\n) FROM {from}\n");
    let unknown = || if mentions(&text, &table.table) { None } else { Some(BTreeSet::new()) };
    let Ok(Statement::Query(query)) = parse(&text) else { return unknown() };
    let SetExpr::Select(select) = query.body.as_ref() else { return unknown() };
    let mut relations = Relations::default();
    // It never breaks off.
    let _whole = query.visit(&mut relations);
    if relations.derived {
        return unknown();
    }
    let (ours, others): (Vec<&Relation>, Vec<&Relation>) =
        relations.found.iter().partition(|relation| is_copy(&relation.table, table));
    if ours.is_empty() {
        return Some(BTreeSet::new());
    }
    let is = |relations: &[&Relation], name: &str| relations.iter().any(|relation| relation.alias == name);
    let mut found = BTreeSet::new();
    for item in &select.projection {
        for parts in identifiers(item) {
            match parts.as_slice() {
                [first, column, ..] if is(&ours, first) => {
                    found.insert(column.clone());
                }
                [first, _, ..] if is(&others, first) => {}
                // A column alone, a field of one, or one with the whole name of its table.
                parts => found.extend(parts.iter().cloned()),
            }
        }
    }
    Some(found)
}

pub(super) fn mentions(text: &str, name: &str) -> bool {
    text.to_lowercase().contains(&name.to_lowercase())
}

/// The identifiers within a piece of SQL, each with its parts, in lower case.
pub(super) fn identifiers(sql: &impl Visit) -> Vec<Vec<String>> {
    let mut names = Names::default();
    // It never breaks off.
    let _whole = sql.visit(&mut names);
    names.0
}

#[derive(Debug)]
struct Relation {
    table: TableName,
    /// What columns are qualified by, in lower case.
    alias: String,
}

/// The tables of a statement, those of subqueries too.
#[derive(Debug, Default)]
struct Relations {
    found: Vec<Relation>,
    /// Something beside plain tables gives columns, under names that say nothing of where they come from.
    derived: bool,
}

impl Visitor for Relations {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let is_plain =
            |item: &SelectItem| matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. });
        self.derived |= query.with.is_some()
            || match query.body.as_ref() {
                SetExpr::Select(select) => !select.lateral_views.is_empty() || !select.projection.iter().all(is_plain),
                _ => true,
            };
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table { name, alias, args: None, .. } => match table(name) {
                Some(table) => {
                    self.derived |= alias.as_ref().is_some_and(|alias| !alias.columns.is_empty());
                    let alias = alias.as_ref().map_or_else(|| table.table.to_lowercase(), |alias| lower(&alias.name));
                    self.found.push(Relation { table, alias });
                }
                None => self.derived = true,
            },
            TableFactor::NestedJoin { alias: None, .. } => {}
            _ => self.derived = true,
        }
        ControlFlow::Continue(())
    }
}

fn table(name: &ObjectName) -> Option<TableName> {
    let parts: Vec<String> = name.0.iter().map(|part| part.as_ident().map(lower)).collect::<Option<_>>()?;
    match parts.as_slice() {
        [zone, schema, table] => Some(TableName::new(zone.parse().ok()?, schema, table)),
        [schema, table] => Some(TableName::new(Zone::Processed, schema, table)),
        _ => None,
    }
}

fn lower(ident: &Ident) -> String {
    ident.value.to_lowercase()
}

#[derive(Debug, Default)]
struct Names(Vec<Vec<String>>);

impl Visitor for Names {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &SqlExpr) -> ControlFlow<()> {
        match expr {
            SqlExpr::Identifier(ident) => self.0.push(vec![lower(ident)]),
            SqlExpr::CompoundIdentifier(idents) => self.0.push(idents.iter().map(lower).collect()),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn mapping(from: &str, for_each: Option<&str>) -> Mapping {
        Mapping {
            version: 1,
            resource: "Patient".parse().unwrap(),
            from: from.to_owned(),
            key: Vec::new(),
            for_each: for_each.map(str::to_owned),
            filter: None,
            set: Vec::new(),
            resource_json: None,
        }
    }

    #[rstest]
    #[case("p.nom", "processed.hms.patient p", Some("nom"))]
    #[case("upper(Nom)", "hms.patient", Some("nom"))]
    #[case("p.nom -- the name", "processed.hms.patient p", Some("nom"))]
    #[case("processed.hms.patient.nom", "processed.hms.patient", Some("hms nom patient processed"))]
    #[case("p.contact.nom", "processed.hms.patient p", Some("contact"))]
    #[case(
        "CASE WHEN p.sex = 'F' THEN p.nom ELSE v.code END",
        "hms.patient p JOIN hms.visit v ON p.id = v.id",
        Some("nom sex")
    )]
    #[case("v.code", "hms.patient p JOIN hms.visit v ON p.id = v.id", Some(""))]
    #[case("(SELECT max(n.nom) FROM processed.hms.patient n WHERE n.id = v.id)", "hms.visit v", Some("id nom"))]
    #[case("(SELECT max(v.code) FROM processed.hms.visit v WHERE v.nom = p.nom)", "hms.patient p", Some("nom"))]
    #[case("d.n", "(SELECT p.nom AS n FROM processed.hms.patient p) d", None)]
    #[case("v.code", "hms.visit v JOIN (SELECT * FROM processed.hms.patient) d ON v.id = d.id", None)]
    #[case("d.n", "(WITH c AS (SELECT nom AS n FROM processed.hms.patient) SELECT n FROM c) d", None)]
    #[case("(SELECT max(n) FROM (SELECT nom AS n FROM processed.hms.patient) d)", "hms.visit v", None)]
    #[case("p.a", "processed.hms.patient AS p(a, b)", None)]
    #[case("p.nom +", "processed.hms.patient p", None)]
    #[case("d.n", "(SELECT v.nom AS n FROM processed.hms.visit v) d", Some(""))]
    fn what_an_expression_is_made_from(#[case] expression: &str, #[case] from: &str, #[case] made: Option<&str>) {
        let table: TableName = "raw.hms.patient".parse().unwrap();
        let found = columns(&mapping(from, None), expression, &table);
        let told = found.map(|found| found.into_iter().collect::<Vec<_>>().join(" "));
        assert_eq!(told.as_deref(), made);
    }

    #[test]
    fn an_element_of_a_list_is_made_from_the_list() {
        let mapping = mapping("processed.hms.patient p", Some("p.contacts AS contact"));
        let found = columns(&mapping, "contact.family", &"raw.hms.patient".parse().unwrap()).unwrap();
        assert!(found.contains("contacts"), "{found:?}");
    }
}
