//! What tables and columns of a source are called in the lake. A name once given stays.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use mavis_catalog::{Column, Table};
use mavis_connectors::TableRef;
use mavis_types::{SourceName, Zone, normalize_name};

/// Gives names to a source's tables.
#[derive(Debug)]
pub(crate) struct Names {
    given: BTreeMap<TableRef, (String, String)>,
    taken: HashSet<(String, String)>,
}

impl Names {
    /// `tables`: the source's tables in the catalog, whose names stay.
    pub(crate) fn of(tables: &[Table]) -> Self {
        let mut given = BTreeMap::new();
        let mut taken = HashSet::new();
        for table in tables.iter().filter(|table| table.name.zone == Zone::Raw) {
            let name = (table.name.schema.clone(), table.name.table.clone());
            taken.insert(name.clone());
            if let Some(source_table) = &table.source_table {
                let reference = TableRef { schema: table.source_schema.clone(), name: source_table.clone() };
                given.insert(reference, name);
            }
        }
        Self { given, taken }
    }

    /// `(schema, table)` of each: the source's name as schema, with `__<schema>` where the source has several.
    pub(crate) fn tables(&mut self, source: &SourceName, tables: &[TableRef]) -> Vec<(String, String)> {
        let schemas: BTreeSet<&Option<String>> = tables.iter().map(|table| &table.schema).collect();
        let several = schemas.len() > 1;
        tables
            .iter()
            .map(|table| {
                if let Some(name) = self.given.get(table) {
                    return name.clone();
                }
                let schema = match &table.schema {
                    Some(schema) if several => format!("{source}__{}", normalize_name(schema)),
                    _ => source.to_string(),
                };
                let base = normalize_name(&table.name);
                let mut name = (schema.clone(), base.clone());
                let mut number = 2;
                while !self.taken.insert(name.clone()) {
                    name = (schema.clone(), format!("{base}_{number}"));
                    number += 1;
                }
                self.given.insert(table.clone(), name.clone());
                name
            })
            .collect()
    }
}

/// Names of a table's columns; those that the catalog knows stay.
pub(crate) fn columns(known: &[Column], names: &[&str]) -> Vec<String> {
    let given: BTreeMap<&str, &str> = known
        .iter()
        .filter(|column| !column.name.starts_with("__"))
        .map(|column| (column.source_name.as_deref().unwrap_or(&column.name), column.name.as_str()))
        .collect();
    let mut taken: HashSet<String> = given.values().map(|name| (*name).to_owned()).collect();
    names
        .iter()
        .map(|name| match given.get(name) {
            Some(given) => (*given).to_owned(),
            None => {
                let base = normalize_name(name);
                let mut free = base.clone();
                let mut number = 2;
                while !taken.insert(free.clone()) {
                    free = format!("{base}_{number}");
                    number += 1;
                }
                free
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(schema: Option<&str>, name: &str) -> TableRef {
        TableRef { schema: schema.map(str::to_owned), name: name.to_owned() }
    }

    #[test]
    fn one_schema_is_the_source_and_several_are_told_apart() {
        let source = SourceName::new("hms").unwrap();
        let one = Names::of(&[]).tables(&source, &[table(Some("public"), "A"), table(Some("public"), "a")]);
        assert_eq!(one, [("hms".into(), "a".into()), ("hms".into(), "a_2".into())]);
        let two = Names::of(&[]).tables(&source, &[table(Some("public"), "a"), table(Some("Labs"), "a")]);
        assert_eq!(two, [("hms__public".into(), "a".into()), ("hms__labs".into(), "a".into())]);
    }

    #[test]
    fn a_column_keeps_its_name_when_another_one_comes_before_it() {
        let known = Column {
            table: mavis_types::TableId::new(),
            position: 0,
            name: "nom".to_owned(),
            source_name: Some("NOM".to_owned()),
            data_type: "Utf8".to_owned(),
            source_type: None,
            nullable: true,
            comment: None,
        };
        assert_eq!(columns(&[known], &["nom", "NOM"]), ["nom_2", "nom"]);
    }
}
