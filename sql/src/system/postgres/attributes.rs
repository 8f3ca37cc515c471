use std::str::FromStr;

use arrow::datatypes::DataType;
use async_stream::try_stream;
use futures::StreamExt;
use mavis_types::Zone;

use super::{
    Definition, Request, catalog,
    grid::{Row, batch},
    relations::{Relation, relations, zone},
    types::{of_arrow, of_oid},
};
use crate::{Error, known_columns, views, work};

const COLUMNS: &str = "attrelid:oid attname:text atttypid:oid attstattarget:int4=-1 attlen:int2=-1 attnum:int2 \
    attndims:int4=0 attcacheoff:int4=-1 atttypmod:int4=-1 attbyval:bool=f attalign:text=i attstorage:text=p \
    attcompression:text= attnotnull:bool=f atthasdef:bool=f atthasmissing:bool=f attidentity:text= attgenerated:text= \
    attisdropped:bool=f attislocal:bool=t attinhcount:int4=0 attcollation:oid=0 attacl:texts attoptions:texts \
    attfdwoptions:texts attmissingval:text tableoid:oid=1249 xmin:oid=1";

pub(super) const ATTRIBUTE: Definition = catalog!("pg_attribute", COLUMNS, |request| {
    try_stream! {
        let mut pages = relations(request.clone(), "attrelid", "");
        while let Some(page) = pages.next().await {
            let page = page?;
            let mut rows: Vec<Row> = Vec::new();
            for relation in &page {
                let columns = columns_of(&request, relation).await?;
                rows.extend((1..).zip(&columns).map(|(number, column)| attribute(relation.oid, number, column)));
                let key = (1..).zip(&relation.key).filter_map(|(number, name)| {
                    let column = columns.iter().find(|column| column.name == *name)?;
                    Some(attribute(relation.oid + 1, number, column))
                });
                rows.extend(key);
            }
            yield batch(COLUMNS, &rows)?;
        }
    }
    .boxed()
});

/// A column by what PostgreSQL tells of it.
#[derive(Debug, Clone)]
pub(super) struct Attribute {
    pub(super) name: String,
    pub(super) data_type: DataType,
    pub(super) nullable: bool,
}

/// The columns of a relation that is no index, in their order.
pub(super) async fn columns_of(request: &Request, relation: &Relation) -> Result<Vec<Attribute>, Error> {
    let of_schema = |schema: &arrow::datatypes::Schema| {
        let fields = schema.fields().iter();
        let attributes = fields.map(|field| Attribute {
            name: field.name().clone(),
            data_type: field.data_type().clone(),
            nullable: field.is_nullable(),
        });
        attributes.collect()
    };
    if let Some(definition) = relation.own {
        return Ok(of_schema(&(definition.columns)()));
    }
    if zone(request) == Some(Zone::Fhir) && relation.schema == views::SCHEMA {
        // one that this version cannot plan has no columns
        let planned = views::plan(&request.catalog, &relation.name).await;
        return Ok(planned.ok().flatten().map(|(_, plan)| of_schema(&plan.schema())).unwrap_or_default());
    }
    let Some(table) = &relation.table else { return Ok(Vec::new()) };
    // The columns of a view are part of its definition.
    if table.view.is_some() && work::definition(&request.principal, table).is_none() {
        return Ok(Vec::new());
    }
    let columns = request.catalog.columns(table.id).await?;
    let columns = known_columns(&request.principal, &table.name, columns);
    Ok(columns
        .into_iter()
        .map(|column| Attribute {
            data_type: DataType::from_str(&column.data_type).unwrap_or(DataType::Utf8),
            name: column.name,
            nullable: column.nullable,
        })
        .collect())
}

fn attribute(relation: u32, number: i64, column: &Attribute) -> Row {
    let (oid, modifier) = of_arrow(&column.data_type);
    let (length, is_list) = of_oid(oid).map_or((-1, false), |(named, is_list)| (named.length, is_list));
    vec![
        ("attrelid", relation.into()),
        ("attname", column.name.as_str().into()),
        ("atttypid", oid.into()),
        ("atttypmod", modifier.into()),
        ("attlen", if is_list { -1 } else { length }.into()),
        ("attndims", i64::from(is_list).into()),
        ("attbyval", (!is_list && matches!(length, 1 | 2 | 4 | 8)).into()),
        ("attstorage", if is_list || length < 0 { "x" } else { "p" }.into()),
        ("attnum", number.into()),
        ("attnotnull", (!column.nullable).into()),
    ]
}
