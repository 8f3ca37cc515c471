use datafusion::sql::sqlparser::ast::{
    AlterTableOperation, ColumnDef, ColumnOption, CommentDef, CommentObject, CreateTable, CreateTableOptions,
    CreateView, Delete, FromTable, HiveDistributionStyle, Ident, Insert, Merge, ObjectName, ObjectNamePart, ObjectType,
    Query, RenameTableNameKind, SqlOption, Statement, TableFactor, TableObject, TableWithJoins, Truncate, Update,
    UpdateTableFromKind, ViewColumnDef, helpers::stmt_create_table::CreateTableBuilder,
};

use crate::{Error, fault};

/// A statement that writes, as far as it is understood: whatever else it said was refused.
#[derive(Debug, Clone)]
pub(super) enum Write {
    /// One of `columns` and `query` is there.
    CreateTable {
        name: ObjectName,
        columns: Vec<ColumnDef>,
        query: Option<Box<Query>>,
        or_replace: bool,
        if_not_exists: bool,
        comment: Option<String>,
    },
    CreateView {
        name: ObjectName,
        columns: Vec<Ident>,
        query: Box<Query>,
        or_replace: bool,
        if_not_exists: bool,
        comment: Option<String>,
    },
    Drop {
        name: ObjectName,
        view: bool,
        if_exists: bool,
    },
    Insert {
        name: ObjectName,
        columns: Vec<Ident>,
        query: Box<Query>,
        overwrite: bool,
    },
    Update(Box<Update>),
    Delete(Box<Delete>),
    Merge(Box<Merge>),
    Truncate {
        name: ObjectName,
        if_exists: bool,
    },
    Rename {
        name: ObjectName,
        to: ObjectName,
        if_exists: bool,
    },
    AddColumns {
        name: ObjectName,
        /// With whether one that is there already is passed over.
        columns: Vec<(ColumnDef, bool)>,
        if_exists: bool,
    },
    Comment {
        name: ObjectName,
        column: Option<Ident>,
        comment: Option<String>,
        if_exists: bool,
    },
}

/// Whether a statement makes, changes or drops a table or a view.
pub(crate) fn is_write(statement: &Statement) -> bool {
    matches!(
        statement,
        Statement::CreateTable(_)
            | Statement::CreateView(_)
            | Statement::Drop { object_type: ObjectType::Table | ObjectType::View, .. }
            | Statement::Insert(_)
            | Statement::Update(_)
            | Statement::Delete(_)
            | Statement::Merge(_)
            | Statement::Truncate(_)
            | Statement::AlterTable(_)
            | Statement::Comment { .. }
    )
}

impl Write {
    /// Reads a statement for which [`is_write`] holds.
    ///
    /// # Errors
    /// [`Error::Refused`] for a clause that is not known here: it is never passed over.
    pub(super) fn read(statement: Statement) -> Result<Self, Error> {
        match statement {
            Statement::CreateTable(create) => create_table(create),
            Statement::CreateView(create) => create_view(create),
            Statement::Drop { object_type, if_exists, names, cascade, purge, temporary, table, .. } => {
                if cascade || purge || temporary || table.is_some() {
                    return Err(refused("DROP takes `IF EXISTS` and a name, nothing else"));
                }
                let [name] = one("DROP", names)?;
                Ok(Self::Drop { name, view: object_type == ObjectType::View, if_exists })
            }
            Statement::Insert(insert) => read_insert(insert),
            Statement::Update(update) => read_update(update),
            Statement::Delete(delete) => read_delete(delete),
            Statement::Merge(merge) => {
                if merge.output.is_some() || !merge.optimizer_hints.is_empty() {
                    return Err(refused("MERGE gives no rows back: leave OUTPUT and RETURNING out"));
                }
                Ok(Self::Merge(Box::new(merge)))
            }
            Statement::Truncate(truncate) => read_truncate(truncate),
            Statement::AlterTable(alter) => {
                if alter.only || alter.location.is_some() || alter.on_cluster.is_some() || alter.table_type.is_some() {
                    return Err(refused(ALTERS));
                }
                read_alter(alter.name, alter.if_exists, alter.operations)
            }
            Statement::Comment { object_type, object_name, comment, if_exists } => {
                read_comment(object_type, object_name, comment, if_exists)
            }
            _ => Err(refused("this statement is not known here")),
        }
    }

    /// The name of what is written, as the statement has it.
    pub(super) fn name(&self) -> Option<&ObjectName> {
        match self {
            Self::CreateTable { name, .. }
            | Self::CreateView { name, .. }
            | Self::Drop { name, .. }
            | Self::Insert { name, .. }
            | Self::Truncate { name, .. }
            | Self::Rename { name, .. }
            | Self::AddColumns { name, .. }
            | Self::Comment { name, .. } => Some(name),
            Self::Update(update) => factor_name(&update.table.relation),
            Self::Delete(delete) => match &delete.from {
                FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables) => {
                    tables.first().and_then(|table| factor_name(&table.relation))
                }
            },
            Self::Merge(merge) => factor_name(&merge.table),
        }
    }

    /// The words that the statement begins with.
    pub(super) fn command(&self) -> &'static str {
        match self {
            Self::CreateTable { query: None, .. } => "CREATE TABLE",
            Self::CreateTable { .. } => "CREATE TABLE AS",
            Self::CreateView { .. } => "CREATE VIEW",
            Self::Drop { view: false, .. } => "DROP TABLE",
            Self::Drop { view: true, .. } => "DROP VIEW",
            Self::Insert { .. } => "INSERT",
            Self::Update(_) => "UPDATE",
            Self::Delete(_) => "DELETE",
            Self::Merge(_) => "MERGE",
            Self::Truncate { .. } => "TRUNCATE TABLE",
            Self::Rename { .. } | Self::AddColumns { .. } => "ALTER TABLE",
            Self::Comment { .. } => "COMMENT",
        }
    }
}

pub(super) fn factor_name(factor: &TableFactor) -> Option<&ObjectName> {
    match factor {
        TableFactor::Table { name, args: None, version: None, .. } => Some(name),
        _ => None,
    }
}

pub(super) fn refused(reason: impl Into<String>) -> Error {
    Error::Refused { reason: reason.into() }
}

const ALTERS: &str = "ALTER TABLE knows `RENAME TO name` and `ADD COLUMN name type`; anything else: CREATE OR REPLACE TABLE ... AS SELECT";

fn one(what: &str, names: Vec<ObjectName>) -> Result<[ObjectName; 1], Error> {
    names.try_into().map_err(|_| refused(format!("{what} takes one name at a time")))
}

/// What the statement says beside what is read must be nothing: the parts put together again must give its own text.
fn create_table(mut create: CreateTable) -> Result<Write, Error> {
    // The parser takes a comment behind the columns for an option.
    if create.comment.is_none()
        && let CreateTableOptions::Plain(options) = &create.table_options
        && let [SqlOption::Comment(comment)] = options.as_slice()
    {
        create.comment = Some(comment.clone());
        create.table_options = CreateTableOptions::None;
    }
    let comment = match &create.comment {
        None => None,
        Some(CommentDef::WithEq(text) | CommentDef::WithoutEq(text)) => Some(text.clone()),
    };
    // Hive's way to say what all tables are.
    let is_delta = create.file_format.is_none()
        && matches!(create.table_options, CreateTableOptions::None)
        && matches!(create.hive_distribution, HiveDistributionStyle::NONE);
    let known = CreateTableBuilder::new(create.name.clone())
        .or_replace(create.or_replace)
        .if_not_exists(create.if_not_exists)
        .columns(create.columns.clone())
        .query(create.query.clone())
        .comment_after_column_def(create.comment.clone())
        .build();
    let text = |create: CreateTable| Statement::CreateTable(create).to_string();
    if !is_delta || text(known) != text(create.clone()) {
        return Err(refused(
            "CREATE TABLE takes `OR REPLACE`, `IF NOT EXISTS`, columns with NOT NULL and COMMENT, and `AS query`: no \
             constraints, options, formats, places, partitions or temporary tables",
        ));
    }
    let CreateTable { name, columns, query, or_replace, if_not_exists, .. } = create;
    if or_replace && if_not_exists {
        return Err(fault::invalid("say `OR REPLACE` or `IF NOT EXISTS`, not both"));
    }
    match (&query, columns.is_empty()) {
        (None, true) => {
            return Err(fault::invalid("a table has columns: `CREATE TABLE t (a INT)`, or `... AS SELECT ...`"));
        }
        (Some(_), false) => {
            return Err(refused("columns of `CREATE TABLE ... AS` come from the query: name and cast them there"));
        }
        _ => {}
    }
    Ok(Write::CreateTable { name, columns, query, or_replace, if_not_exists, comment })
}

fn create_view(create: CreateView) -> Result<Write, Error> {
    let CreateView { name, columns, query, or_replace, if_not_exists, comment, .. } = &create;
    let has_more = create.or_alter
        || create.materialized
        || create.secure
        || create.temporary
        || create.copy_grants
        || create.with_no_schema_binding
        || create.to.is_some()
        || create.params.is_some()
        || !create.cluster_by.is_empty()
        || !matches!(create.options, CreateTableOptions::None);
    let plain = |column: &ViewColumnDef| column.data_type.is_none() && column.options.is_none();
    if has_more || !columns.iter().all(plain) {
        return Err(refused(
            "CREATE VIEW takes `OR REPLACE`, `IF NOT EXISTS`, names of columns and a query; it is neither temporary nor \
             materialised: for stored rows write CREATE TABLE ... AS SELECT",
        ));
    }
    if *or_replace && *if_not_exists {
        return Err(fault::invalid("say `OR REPLACE` or `IF NOT EXISTS`, not both"));
    }
    Ok(Write::CreateView {
        name: name.clone(),
        columns: columns.iter().map(|column| column.name.clone()).collect(),
        query: query.clone(),
        or_replace: *or_replace,
        if_not_exists: *if_not_exists,
        comment: comment.clone(),
    })
}

fn read_insert(insert: Insert) -> Result<Write, Error> {
    let has_more = insert.or.is_some()
        || insert.ignore
        || insert.table_alias.is_some()
        || !insert.assignments.is_empty()
        || insert.partitioned.is_some()
        || !insert.after_columns.is_empty()
        || insert.on.is_some()
        || insert.returning.is_some()
        || insert.output.is_some()
        || insert.replace_into
        || insert.priority.is_some()
        || insert.insert_alias.is_some()
        || insert.settings.is_some()
        || insert.format_clause.is_some()
        || !insert.optimizer_hints.is_empty()
        || insert.multi_table_insert_type.is_some()
        || !insert.multi_table_into_clauses.is_empty()
        || !insert.multi_table_when_clauses.is_empty()
        || insert.multi_table_else_clause.is_some();
    if has_more {
        return Err(refused(
            "INSERT takes a table, columns, and VALUES or a query: no ON CONFLICT, RETURNING or PARTITION; MERGE inserts or \
             updates",
        ));
    }
    let TableObject::TableName(name) = insert.table else { return Err(refused("INSERT takes the name of a table")) };
    let columns = insert.columns.into_iter().map(column_ident).collect::<Result<_, _>>()?;
    let query =
        insert.source.ok_or_else(|| fault::invalid("INSERT INTO t VALUES (...), or INSERT INTO t SELECT ..."))?;
    Ok(Write::Insert { name, columns, query, overwrite: insert.overwrite })
}

fn read_update(update: Update) -> Result<Write, Error> {
    let has_more = update.returning.is_some()
        || update.output.is_some()
        || update.or.is_some()
        || !update.order_by.is_empty()
        || update.limit.is_some()
        || !update.optimizer_hints.is_empty()
        || !update.table.joins.is_empty()
        || matches!(update.from, Some(UpdateTableFromKind::BeforeSet(_)));
    if has_more || factor_name(&update.table.relation).is_none() {
        return Err(refused(
            "UPDATE reads `UPDATE t SET a = ... [FROM other] [WHERE ...]`: no RETURNING, ORDER BY or LIMIT",
        ));
    }
    Ok(Write::Update(Box::new(update)))
}

fn read_delete(delete: Delete) -> Result<Write, Error> {
    let tables: &Vec<TableWithJoins> = match &delete.from {
        FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables) => tables,
    };
    let is_plain = matches!(tables.as_slice(), [one] if one.joins.is_empty() && factor_name(&one.relation).is_some());
    let has_more = !delete.tables.is_empty()
        || delete.returning.is_some()
        || delete.output.is_some()
        || !delete.order_by.is_empty()
        || delete.limit.is_some()
        || !delete.optimizer_hints.is_empty();
    if has_more || !is_plain {
        return Err(refused("DELETE reads `DELETE FROM t [USING other] [WHERE ...]`: no RETURNING, ORDER BY or LIMIT"));
    }
    Ok(Write::Delete(Box::new(delete)))
}

fn read_truncate(truncate: Truncate) -> Result<Write, Error> {
    let names = truncate.table_names.iter().map(|target| target.name.clone()).collect();
    let has_more = truncate.partitions.is_some()
        || truncate.identity.is_some()
        || truncate.cascade.is_some()
        || truncate.on_cluster.is_some()
        || truncate.table_names.iter().any(|target| target.only || target.has_asterisk);
    if has_more {
        return Err(refused("TRUNCATE TABLE takes a name, nothing else"));
    }
    let [name] = one("TRUNCATE TABLE", names)?;
    Ok(Write::Truncate { name, if_exists: truncate.if_exists })
}

fn read_alter(name: ObjectName, if_exists: bool, operations: Vec<AlterTableOperation>) -> Result<Write, Error> {
    if let [
        AlterTableOperation::RenameTable { table_name: RenameTableNameKind::To(to) | RenameTableNameKind::As(to) },
    ] = operations.as_slice()
    {
        return Ok(Write::Rename { name, to: to.clone(), if_exists });
    }
    let columns = operations.into_iter().map(|operation| match operation {
        AlterTableOperation::AddColumn { if_not_exists, column_def, column_position: None, .. } => {
            Ok((column_def, if_not_exists))
        }
        _ => Err(refused(ALTERS)),
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    if columns.is_empty() {
        return Err(refused(ALTERS));
    }
    Ok(Write::AddColumns { name, columns, if_exists })
}

fn read_comment(
    object: CommentObject,
    mut name: ObjectName,
    comment: Option<String>,
    if_exists: bool,
) -> Result<Write, Error> {
    let column = match object {
        CommentObject::Table | CommentObject::View => None,
        CommentObject::Column => match name.0.pop() {
            Some(ObjectNamePart::Identifier(column)) if !name.0.is_empty() => Some(column),
            _ => return Err(fault::invalid("write `COMMENT ON COLUMN table.column IS '...'`")),
        },
        _ => return Err(refused("COMMENT is for a TABLE, a VIEW or a COLUMN")),
    };
    Ok(Write::Comment { name, column, comment, if_exists })
}

/// The column that a list of columns names; it may be qualified with the table.
pub(super) fn column_ident(name: ObjectName) -> Result<Ident, Error> {
    match name.0.last() {
        Some(ObjectNamePart::Identifier(ident)) => Ok(ident.clone()),
        _ => Err(fault::invalid(format!("`{name}` is not the name of a column"))),
    }
}

/// The comment of a column that is made, whose other options are looked through.
///
/// # Errors
/// [`Error::Refused`] for what a column of Delta cannot promise.
pub(super) fn column_comment(column: &ColumnDef) -> Result<Option<String>, Error> {
    let mut comment = None;
    for option in &column.options {
        match &option.option {
            ColumnOption::Null | ColumnOption::NotNull => {}
            ColumnOption::Comment(text) => comment = Some(text.clone()),
            _ => {
                return Err(refused(format!(
                    "column `{}` may say NOT NULL and COMMENT; keys, defaults and checks are not kept here",
                    column.name
                )));
            }
        }
    }
    Ok(comment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::parse;
    use rstest::rstest;

    fn read(sql: &str) -> Result<Write, Error> {
        let statement = parse(sql)?;
        assert!(is_write(&statement), "{sql}");
        Write::read(statement)
    }

    #[rstest]
    #[case("CREATE TABLE work.a.t (x INT NOT NULL, y STRING COMMENT 'why')", "CREATE TABLE")]
    #[case("CREATE TABLE IF NOT EXISTS t (x INT)", "CREATE TABLE")]
    #[case("CREATE OR REPLACE TABLE t AS SELECT 1 AS x", "CREATE TABLE AS")]
    #[case("CREATE TABLE t AS WITH q AS (SELECT 1 AS x) SELECT * FROM q", "CREATE TABLE AS")]
    #[case("CREATE VIEW v AS SELECT 1", "CREATE VIEW")]
    #[case("CREATE OR REPLACE VIEW v (a, b) AS SELECT 1, 2", "CREATE VIEW")]
    #[case("DROP TABLE IF EXISTS a.t", "DROP TABLE")]
    #[case("DROP VIEW v", "DROP VIEW")]
    #[case("INSERT INTO t VALUES (1, 'a'), (?, ?)", "INSERT")]
    #[case("INSERT INTO t (a, b) SELECT 1, 2", "INSERT")]
    #[case("INSERT OVERWRITE TABLE t SELECT 1", "INSERT")]
    #[case("UPDATE t SET a = 1 WHERE b = 2", "UPDATE")]
    #[case("UPDATE t AS x SET a = y.a FROM other y WHERE x.id = y.id", "UPDATE")]
    #[case("DELETE FROM t", "DELETE")]
    #[case("DELETE FROM t USING u WHERE t.id = u.id", "DELETE")]
    #[case("MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN DELETE", "MERGE")]
    #[case("TRUNCATE TABLE t", "TRUNCATE TABLE")]
    #[case("ALTER TABLE t RENAME TO u", "ALTER TABLE")]
    #[case("ALTER TABLE t ADD COLUMN x INT, ADD COLUMN y INT", "ALTER TABLE")]
    #[case("COMMENT ON TABLE t IS 'x'", "COMMENT")]
    #[case("COMMENT ON COLUMN t.c IS NULL", "COMMENT")]
    fn what_is_known_is_read(#[case] sql: &str, #[case] command: &str) {
        assert_eq!(read(sql).unwrap().command(), command);
    }

    #[rstest]
    #[case("CREATE TEMPORARY TABLE t (x INT)")]
    #[case("CREATE EXTERNAL TABLE t (x INT) STORED AS PARQUET LOCATION '/etc'")]
    #[case("CREATE TABLE t (x INT) LOCATION '/etc'")]
    #[case("CREATE TABLE t (x INT, PRIMARY KEY (x))")]
    #[case("CREATE TABLE t (x INT) PARTITIONED BY (y INT)")]
    #[case("CREATE TABLE t LIKE u")]
    #[case("CREATE TABLE t (x INT) WITH (a = 1)")]
    #[case("CREATE TABLE t (y INT) AS SELECT 1")]
    #[case("CREATE MATERIALIZED VIEW v AS SELECT 1")]
    #[case("CREATE TEMPORARY VIEW v AS SELECT 1")]
    #[case("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING")]
    #[case("INSERT INTO t VALUES (1) RETURNING a")]
    #[case("UPDATE t SET a = 1 RETURNING a")]
    #[case("DELETE FROM t RETURNING a")]
    #[case("DROP TABLE a, b")]
    #[case("DROP TABLE a CASCADE")]
    #[case("ALTER TABLE t DROP COLUMN x")]
    fn what_is_not_known_is_refused_and_never_passed_over(#[case] sql: &str) {
        let outcome = read(sql);
        assert!(matches!(outcome, Err(Error::Refused { .. } | Error::Invalid { .. })), "{outcome:?}");
    }

    #[rstest]
    #[case("CREATE TABLE t (x INT PRIMARY KEY)")]
    #[case("CREATE TABLE t (x INT DEFAULT 3)")]
    #[case("CREATE TABLE t (x INT UNIQUE)")]
    fn a_column_promises_nothing_that_is_not_kept(#[case] sql: &str) {
        let Write::CreateTable { columns, .. } = read(sql).unwrap() else { panic!("another statement") };
        assert!(matches!(column_comment(&columns[0]), Err(Error::Refused { .. })));
    }
}
