//! The tables of a publication: what they are called, how their rows are told apart, and whether they are still what they were
//! when their cursor was written.

use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, Row, postgres::PgRow};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    Error, Stage,
    postgres::{Inner, session},
};

/// `attnames` and `rowfilter` are of PostgreSQL 15 and later.
const MEMBERS: &str = "
    SELECT c.oid::int8 AS oid, n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind,
           coalesce(pg_relation_filenode(c.oid), 0)::int8 AS file,
           CASE WHEN c.relkind = 'p' THEN
               (SELECT coalesce(string_agg(format('%s:%s', t.relid::oid, coalesce(pg_relation_filenode(t.relid), 0)), ','
                                           ORDER BY t.relid::oid), '')
                FROM pg_partition_tree(c.oid) t WHERE t.isleaf) END AS leaves,
           to_jsonb(p) ->> 'rowfilter' AS filter,
           (to_jsonb(p) -> 'attnames')::text AS published,
           (SELECT array_agg(a.attname::text ORDER BY k.position)
            FROM (SELECT i.* FROM pg_index i
                  WHERE i.indrelid = c.oid AND i.indisvalid AND CASE c.relreplident
                      WHEN 'd' THEN i.indisprimary
                      WHEN 'i' THEN i.indisreplident
                      WHEN 'f' THEN i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL
                          AND NOT EXISTS (SELECT 1 FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, position)
                                          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
                                          WHERE k.position <= i.indnkeyatts AND NOT a.attnotnull)
                      ELSE false END
                  ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid LIMIT 1) i,
                 unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, position)
            JOIN pg_attribute a ON a.attnum = k.attnum
            WHERE a.attrelid = c.oid AND k.position <= i.indnkeyatts) AS key,
           (SELECT jsonb_agg(jsonb_build_object(
                       'number', a.attnum, 'name', a.attname, 'type', a.atttypid::int8, 'modifier', a.atttypmod,
                       'dropped', a.attisdropped, 'not_null', a.attnotnull, 'filled', a.atthasmissing,
                       'generated', a.attgenerated <> '', 'by', a.xmin::text) ORDER BY a.attnum)
            FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0)::text AS attributes
    FROM pg_publication_tables p
    JOIN pg_namespace n ON n.nspname = p.schemaname
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename
    WHERE p.pubname = $1 AND NOT c.relispartition
      AND ($2::text IS NULL OR (n.nspname = $2 AND c.relname = $3))";

/// A table of the publication.
#[derive(Debug, Clone)]
pub(in crate::postgres) struct Member {
    pub(super) oid: u32,
    pub(in crate::postgres) schema: String,
    pub(in crate::postgres) name: String,
    partitioned: bool,
    file: i64,
    /// Of a partitioned table: its partitions and their files. What attaching, detaching and dropping one does to rows, and
    /// truncating one by itself, the log does not tell.
    leaves: Option<String>,
    /// A condition of the publication on rows.
    filter: Option<String>,
    /// Columns by which the log names a row that changes or goes.
    pub(in crate::postgres) key: Vec<String>,
    /// Columns that the log tells of.
    pub(in crate::postgres) published: Vec<String>,
    attributes: Vec<Attribute>,
}

#[derive(Debug, Clone, Deserialize)]
struct Attribute {
    number: i16,
    name: String,
    r#type: u32,
    modifier: i32,
    dropped: bool,
    not_null: bool,
    /// Rows that were there before the column have a value in it that no change told of.
    filled: bool,
    generated: bool,
    /// The transaction that last changed the column's definition.
    by: String,
}

/// What a table looked like when its cursor was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shape {
    table: u32,
    file: i64,
    /// The highest number of a column.
    columns: i16,
    /// Names and types of the columns.
    types: String,
    /// Those, and who changed them last.
    changes: String,
    /// Partitions and their files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    leaves: Option<String>,
}

impl Shape {
    /// Whether the columns are the same; its rows may have been moved, or all of them taken away (TRUNCATE), which the log
    /// tells.
    pub(super) fn has_columns_of(&self, other: &Self) -> bool {
        let columns = |shape: &Self| (shape.table, shape.columns, shape.types.clone(), shape.changes.clone());
        columns(self) == columns(other)
    }
}

impl Member {
    pub(super) fn shape(&self) -> Shape {
        self.shape_up_to(i16::MAX)
    }

    fn shape_up_to(&self, number: i16) -> Shape {
        let (mut types, mut changes, mut columns) = (String::new(), String::new(), 0);
        for a in self.attributes.iter().filter(|a| a.number <= number) {
            let line = format!("{}:{}:{}:{}:{}\n", a.number, a.name, a.r#type, a.modifier, a.dropped);
            types.push_str(&line);
            changes.push_str(&line);
            changes.push_str(&a.by);
            columns = columns.max(a.number);
        }
        let hash = |text: &str| format!("{:016x}", xxh3_64(text.as_bytes()));
        let leaves = self.leaves.as_deref().map(hash);
        Shape { table: self.oid, file: self.file, columns, types: hash(&types), changes: hash(&changes), leaves }
    }

    /// Whether the changes since `then` say everything that happened to the table: nothing else did but that columns came
    /// which are null in the rows that were there, or that its rows were moved without being changed (VACUUM FULL).
    pub(super) fn goes_on_from(&self, then: &Shape) -> bool {
        let now = self.shape_up_to(then.columns);
        if now.table != then.table {
            return false;
        }
        if self.partitioned {
            return self.shape() == *then;
        }
        let added = || self.attributes.iter().filter(|a| a.number > then.columns);
        if now.file == then.file {
            return now.types == then.types && added().all(|a| a.dropped || (!a.filled && !a.not_null));
        }
        now.changes == then.changes && added().next().is_none()
    }

    /// Why the log cannot tell of this table, if it cannot.
    pub(in crate::postgres) fn unfit(&self) -> Option<&'static str> {
        if self.key.is_empty() {
            Some(
                "it has no primary key and no replica identity, so that the log does not name rows that change; give it a \
                 primary key (or REPLICA IDENTITY USING INDEX)",
            )
        } else if self.filter.is_some() {
            Some("the publication has a row filter on it; take the filter out")
        } else if self.key.iter().any(|key| !self.published.contains(key)) {
            Some("the publication's column list leaves out a column of its key")
        } else {
            None
        }
    }

    pub(super) fn label(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// Every table of the publication that is not a partition, or the one of this schema and name.
pub(in crate::postgres) async fn members(
    inner: &Inner,
    connection: &mut PgConnection,
    publication: &str,
    only: Option<(&str, &str)>,
) -> Result<Vec<Member>, Error> {
    let broken = |error: sqlx::Error| session::refused(inner, Stage::Read, &error);
    let rows = sqlx::query(MEMBERS)
        .bind(publication)
        .bind(only.map(|(schema, _)| schema))
        .bind(only.map(|(_, name)| name))
        .fetch_all(connection)
        .await
        .map_err(broken)?;
    rows.iter().map(|row| member(row).map_err(broken)).collect()
}

fn member(row: &PgRow) -> Result<Member, sqlx::Error> {
    let json = |text: Option<String>| text.unwrap_or_else(|| "null".to_owned());
    let decode = |error: serde_json::Error| sqlx::Error::Decode(Box::new(error));
    let attributes: Option<Vec<Attribute>> = serde_json::from_str(&json(row.try_get("attributes")?)).map_err(decode)?;
    let attributes = attributes.unwrap_or_default();
    let published: Option<Vec<String>> = serde_json::from_str(&json(row.try_get("published")?)).map_err(decode)?;
    let all = || attributes.iter().filter(|a| !a.dropped && !a.generated).map(|a| a.name.clone()).collect();
    Ok(Member {
        oid: u32::try_from(row.try_get::<i64, _>("oid")?).unwrap_or_default(),
        schema: row.try_get("schema")?,
        name: row.try_get("name")?,
        partitioned: row.try_get::<String, _>("kind")? == "p",
        file: row.try_get("file")?,
        leaves: row.try_get("leaves")?,
        filter: row.try_get("filter")?,
        key: row.try_get::<Option<Vec<String>>, _>("key")?.unwrap_or_default(),
        published: published.unwrap_or_else(all),
        attributes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(number: i16, name: &str) -> Attribute {
        let by = "700".to_owned();
        let name = name.to_owned();
        Attribute {
            number,
            name,
            r#type: 23,
            modifier: -1,
            dropped: false,
            not_null: false,
            filled: false,
            generated: false,
            by,
        }
    }

    fn table() -> Member {
        Member {
            oid: 1,
            schema: "public".into(),
            name: "t".into(),
            partitioned: false,
            file: 10,
            leaves: None,
            filter: None,
            key: vec!["id".into()],
            published: vec!["id".into(), "v".into()],
            attributes: vec![attribute(1, "id"), attribute(2, "v")],
        }
    }

    #[test]
    fn a_table_goes_on_unless_something_happened_that_no_change_tells_of() {
        let then = table().shape();
        let after = |change: &dyn Fn(&mut Member)| {
            let mut now = table();
            change(&mut now);
            now.goes_on_from(&then)
        };
        assert!(after(&|_| ()));
        assert!(after(&|t| t.attributes.push(attribute(3, "new"))), "a column of nulls");
        assert!(after(&|t| t.file = 11), "VACUUM FULL");
        assert!(after(&|t| t.attributes[1].by = "800".into()), "SET STATISTICS");
        assert!(!after(&|t| t.attributes.push(Attribute { filled: true, ..attribute(3, "new") })), "a default");
        assert!(!after(&|t| t.oid = 2), "made anew");
        assert!(!after(&|t| t.attributes[1].name = "w".into()), "renamed");
        assert!(!after(&|t| t.attributes[1].r#type = 25), "another type");
        assert!(!after(&|t| t.attributes[1].dropped = true), "dropped");
        assert!(
            !after(&|t| {
                t.file = 11;
                t.attributes[1].by = "800".into();
            }),
            "ALTER TYPE ... USING: every row is another one"
        );
        assert!(
            !after(&|t| {
                t.file = 11;
                t.attributes.push(attribute(3, "new"));
            }),
            "a default that differs from row to row"
        );
        let truncated = Member { file: 11, ..table() };
        assert!(truncated.shape().has_columns_of(&then));
        assert!(!Member { attributes: vec![attribute(1, "id")], ..table() }.shape().has_columns_of(&then));
        let partitioned = |leaves: &str| Member { partitioned: true, leaves: Some(leaves.into()), ..table() };
        let then = partitioned("1:10,2:20").shape();
        assert!(partitioned("1:10,2:20").goes_on_from(&then));
        assert!(!partitioned("1:10").goes_on_from(&then), "a partition is gone");
        assert!(!partitioned("1:10,2:20,3:30").goes_on_from(&then), "one came, perhaps with rows");
        assert!(!partitioned("1:10,2:21").goes_on_from(&then), "one was truncated");
    }
}
