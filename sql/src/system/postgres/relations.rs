//! What `pg_class` tells of: tables and views of the lake, keys as indexes, and the tables about the lake.

use async_stream::try_stream;
use futures::stream::BoxStream;
use mavis_catalog::{Numbered, Table};
use mavis_types::{Principal, TableName, Zone};

use super::{Definition, INFORMATION, PG_CATALOG, Request, TABLES, empty, information};
use crate::{
    Error, known_table,
    system::{SYSTEM, TABLES as SYSTEM_TABLES},
    views, work,
};

/// Numbers of the namespaces that every database has.
pub(super) const PG_NAMESPACE: u32 = 11;
pub(super) const INFORMATION_NAMESPACE: u32 = 13_000;
/// The first number of the schemas of `system`.
const SYSTEM_NAMESPACES: u32 = 13_900;
/// The first numbers of tables of `pg_catalog`, `information_schema` and `system`.
const OWN_TABLES: [u32; 3] = [12_000, 13_100, 14_000];
/// Catalogs whose numbers clients know by heart.
const KNOWN: [(&str, u32); 20] = [
    ("pg_tablespace", 1213),
    ("pg_type", 1247),
    ("pg_attribute", 1249),
    ("pg_proc", 1255),
    ("pg_class", 1259),
    ("pg_authid", 1260),
    ("pg_database", 1262),
    ("pg_am", 2601),
    ("pg_attrdef", 2604),
    ("pg_constraint", 2606),
    ("pg_description", 2609),
    ("pg_index", 2610),
    ("pg_namespace", 2615),
    ("pg_opclass", 2616),
    ("pg_operator", 2617),
    ("pg_rewrite", 2618),
    ("pg_trigger", 2620),
    ("pg_extension", 3079),
    ("pg_enum", 3501),
    ("pg_collation", 3456),
];

/// A table, a view, or the index of a key.
#[derive(Debug, Clone)]
pub(super) struct Relation {
    pub(super) oid: u32,
    pub(super) namespace: u32,
    pub(super) schema: String,
    pub(super) name: String,
    /// `r` table, `v` view, `i` index.
    pub(super) kind: &'static str,
    pub(super) comment: Option<String>,
    pub(super) rows: Option<u64>,
    /// Columns of the key.
    pub(super) key: Vec<String>,
    pub(super) table: Option<Table>,
    pub(super) own: Option<&'static Definition>,
}

impl Relation {
    /// The query of a view of SQL, where the principal may see it.
    pub(super) fn query(&self, principal: &Principal) -> Option<String> {
        let view = self.table.as_ref().and_then(|table| work::definition(principal, table))?;
        Some(view.text.clone())
    }
}

/// The number of a catalog, or of another table that is not of the lake.
pub(crate) fn number_of_own(schema: &str, table: &str) -> Option<u32> {
    if let Some((_, oid)) = KNOWN.iter().find(|(name, _)| schema == PG_CATALOG && *name == table) {
        return Some(*oid);
    }
    let schema = if schema == INFORMATION { super::PG_INFORMATION } else { schema };
    let group = |group: usize| -> Box<dyn Iterator<Item = &'static Definition>> {
        match group {
            0 => Box::new(TABLES.iter().chain(&empty::TABLES)),
            1 => Box::new(information::TABLES.iter()),
            _ => Box::new(SYSTEM_TABLES.iter()),
        }
    };
    OWN_TABLES.iter().enumerate().find_map(|(number, first)| {
        let at = group(number).position(|definition| definition.schema == schema && definition.table == table)?;
        Some(first + u32::try_from(at).ok()?)
    })
}

/// The schema and the name of a table that is not of the lake, by its number.
pub(crate) fn own_of_number(oid: u32) -> Option<(&'static str, &'static str)> {
    let all = TABLES.iter().chain(&empty::TABLES).chain(&information::TABLES).chain(&SYSTEM_TABLES);
    let found = all.into_iter().find(|definition| number_of_own(definition.schema, definition.table) == Some(oid))?;
    Some((shown(found.schema), found.table))
}

/// A schema as clients are told it.
fn shown(schema: &'static str) -> &'static str {
    if schema == super::PG_INFORMATION { INFORMATION } else { schema }
}

/// The number of a schema of a database.
pub(super) fn namespace(request: &Request, zone: Option<Zone>, schema: &str) -> u32 {
    match (schema, zone) {
        (PG_CATALOG, _) => PG_NAMESPACE,
        (INFORMATION, _) => INFORMATION_NAMESPACE,
        (_, Some(zone)) => request.catalog.number(zone, schema, None),
        (schema, None) => {
            let at = SYSTEM_TABLES.iter().position(|definition| definition.schema == schema).unwrap_or_default();
            SYSTEM_NAMESPACES + u32::try_from(at).unwrap_or_default()
        }
    }
}

/// The zone that the database is; `None` for `system`.
pub(super) fn zone(request: &Request) -> Option<Zone> {
    request.only_catalog.as_deref().and_then(|name| name.parse().ok())
}

/// Schemas of the database by name, with their numbers: those of the lake, then those that every database has.
pub(super) async fn schemas(request: &Request) -> Result<Vec<(u32, String)>, Error> {
    let mut names: Vec<String> = Vec::new();
    let zone = zone(request);
    if zone.is_some() {
        names.extend(request.schemas("", "").await?.into_iter().map(|(_, schema)| schema));
        if zone == Some(Zone::Fhir) && !request.views(["", "", ""]).await?.is_empty() {
            names.push(views::SCHEMA.to_owned());
        }
    } else if request.only_catalog.as_deref() == Some(SYSTEM) {
        let own = SYSTEM_TABLES.iter().filter(|definition| definition.is_seen_by(&request.principal));
        names.extend(own.map(|definition| definition.schema.to_owned()));
    }
    names.dedup();
    names.extend([INFORMATION.to_owned(), PG_CATALOG.to_owned()]);
    Ok(names.into_iter().map(|name| (namespace(request, zone, &name), name)).collect())
}

/// The relations that a request asks for, by pages. The columns are those of the number and the name, where there are any.
pub(super) fn relations(
    request: Request,
    number: &'static str,
    name: &'static str,
) -> BoxStream<'static, Result<Vec<Relation>, Error>> {
    Box::pin(try_stream! {
        let only: Option<u32> = request.equal(number).and_then(|text| text.parse().ok());
        let found = only.and_then(|oid| request.catalog.numbered(oid)).map(|(numbered, _)| numbered);
        if let Some(numbered) = &found {
            yield one(&request, numbered).await?;
        } else if only.is_none() {
            for place in request.schemas("", "").await? {
                let mut after: Option<TableName> = None;
                while let Some((page, last)) = request.tables(&place, name, after.as_ref()).await? {
                    after = Some(last);
                    yield of_tables(&request, page);
                }
            }
            if zone(&request) == Some(Zone::Fhir) {
                let views = request.views(["", "", name]).await?;
                yield views.into_iter().map(|(name, _)| of_view(&request, name)).collect();
            }
        }
        if found.is_none() {
            yield own(&request);
        }
    })
}

/// What has a number, if it is of this database and the principal may see it.
async fn one(request: &Request, numbered: &Numbered) -> Result<Vec<Relation>, Error> {
    let Some(name) = numbered.table_name().filter(|name| Some(name.zone) == zone(request)) else {
        return Ok(Vec::new());
    };
    if name.zone == Zone::Fhir && name.schema == views::SCHEMA {
        let row = request.catalog.view_by_name(&name.table).await?;
        let seen = row.filter(|row| views::is_seen(&request.principal, row));
        return Ok(seen.map(|_| of_view(request, name.table)).into_iter().collect());
    }
    let found = request.catalog.find_table(&name).await?;
    let known = found.and_then(|table| known_table(&request.principal, table));
    Ok(of_tables(request, known.into_iter().collect()))
}

fn of_tables(request: &Request, tables: Vec<Table>) -> Vec<Relation> {
    let mut relations = Vec::with_capacity(tables.len());
    for table in tables {
        let oid = request.catalog.number(table.name.zone, &table.name.schema, Some(&table.name.table));
        let namespace = request.catalog.number(table.name.zone, &table.name.schema, None);
        relations.push(Relation {
            oid,
            namespace,
            schema: table.name.schema.clone(),
            name: table.name.table.clone(),
            kind: if table.view.is_some() { "v" } else { "r" },
            comment: table.comment.clone(),
            rows: table.rows,
            key: table.key.clone(),
            own: None,
            table: Some(table),
        });
    }
    relations
}

fn of_view(request: &Request, name: String) -> Relation {
    Relation {
        oid: request.catalog.number(Zone::Fhir, views::SCHEMA, Some(&name)),
        namespace: request.catalog.number(Zone::Fhir, views::SCHEMA, None),
        schema: views::SCHEMA.to_owned(),
        name,
        kind: "v",
        comment: None,
        rows: None,
        key: Vec::new(),
        table: None,
        own: None,
    }
}

/// Tables about the lake: the catalogs of every database, and those of `system`.
fn own(request: &Request) -> Vec<Relation> {
    let zone = zone(request);
    let everywhere = TABLES.iter().chain(&empty::TABLES).chain(&information::TABLES);
    let of_system = SYSTEM_TABLES.iter().filter(|_| request.only_catalog.as_deref() == Some(SYSTEM));
    let seen = everywhere.chain(of_system).filter(|definition| definition.is_seen_by(&request.principal));
    seen.filter_map(|definition| {
        let schema = shown(definition.schema);
        Some(Relation {
            oid: number_of_own(definition.schema, definition.table)?,
            namespace: namespace(request, zone, schema),
            schema: schema.to_owned(),
            name: definition.table.to_owned(),
            kind: if schema == PG_CATALOG { "r" } else { "v" },
            comment: None,
            rows: None,
            key: Vec::new(),
            table: None,
            own: Some(definition),
        })
    })
    .collect()
}
