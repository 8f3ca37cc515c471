//! `UPDATE`, `DELETE` and `MERGE` as queries: which rows of the target they meet, by their places, and what becomes of them.
//!
//! The target stands in such a query under a name that nobody can write. The condition is evaluated where a query would
//! evaluate it, once, over all that it names as the caller sees it.

use datafusion::sql::sqlparser::ast::{
    Assignment, AssignmentTarget, BinaryOperator, CaseWhen, Delete, Expr, FromTable, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentList, FunctionArguments, GroupByExpr, Ident, Join, JoinConstraint, JoinOperator,
    Merge, MergeAction, MergeClauseKind, MergeInsertKind, ObjectName, ObjectNamePart, Query, Select, SelectFlavor,
    SelectItem, SetExpr, Statement, TableAlias, TableFactor, TableWithJoins, Update, UpdateTableFromKind, Value,
    WildcardAdditionalOptions, helpers::attached_token::AttachedToken,
};
use mavis_lake::work::PLACE;
use mavis_types::TableName;

use super::statement::{column_ident, refused};
use crate::{Error, fault};
use arrow::datatypes::SchemaRef;

/// The name under which the target stands in a query.
pub(super) const TARGET: &str = "\u{1}target";
/// The column that says which clause of a MERGE takes a row.
const CLAUSE: &str = "row clause";
/// The column that says that a row of the source is there.
const THERE: &str = "row there";

/// What becomes of the rows that a query names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    /// Columns: place. The rows go.
    Delete,
    /// Columns: place, then the table's columns. The rows are replaced.
    Update,
    /// Columns: place (null for a new row), number of the clause, then the table's columns. `deletes` names the clauses that
    /// delete; `twice`: whether a row may be met twice.
    Merge { deletes: Vec<i64>, twice: bool },
}

/// The target of a statement as it is written, and its columns.
pub(super) struct Over<'a> {
    pub(super) name: &'a TableName,
    pub(super) columns: &'a SchemaRef,
    /// Parameters that stand for the value of a column, by their numbers.
    pub(super) typed: Vec<(String, arrow::datatypes::DataType)>,
}

impl Over<'_> {
    fn factor(&self, written: &TableFactor) -> Result<TableFactor, Error> {
        let TableFactor::Table { alias, .. } = written else {
            return Err(fault::invalid("write the name of the table that is to be changed"));
        };
        if alias.as_ref().is_some_and(|alias| !alias.columns.is_empty()) {
            return Err(fault::invalid("the table that is changed takes an alias, but no other names for its columns"));
        }
        Ok(table(TARGET, alias.clone()))
    }

    /// A column of the target, by whatever name it may be called in the statement.
    fn own(&self, written: &TableFactor, column: &str) -> Expr {
        let quoted = |text: &str| Ident::with_quote('"', text);
        let mut idents = match written {
            TableFactor::Table { alias: Some(alias), .. } => vec![alias.name.clone()],
            _ => [self.name.zone.as_str(), &self.name.schema, &self.name.table].map(quoted).to_vec(),
        };
        idents.push(quoted(column));
        Expr::CompoundIdentifier(idents)
    }

    fn column(&self, ident: &Ident) -> Result<usize, Error> {
        position(self.columns, ident)
            .ok_or_else(|| fault::invalid(format!("table `{}` has no column `{}`", self.name, ident.value)))
    }

    /// For each column of the table, what it is set to, if it is.
    fn assigned(&mut self, assignments: Vec<Assignment>) -> Result<Vec<Option<Expr>>, Error> {
        let mut set: Vec<Option<Expr>> = vec![None; self.columns.fields().len()];
        for Assignment { target, value } in assignments {
            let AssignmentTarget::ColumnName(name) = target else {
                return Err(refused("set columns one by one: `SET a = ..., b = ...`"));
            };
            let at = self.column(&column_ident(name)?)?;
            if set[at].is_some() {
                return Err(fault::invalid(format!("column `{}` is set twice", self.columns.field(at).name())));
            }
            set[at] = Some(self.value(value, at));
        }
        Ok(set)
    }

    /// A value for a column. A parameter that stands there alone has the column's type.
    pub(super) fn value(&mut self, value: Expr, column: usize) -> Expr {
        let data_type = self.columns.field(column).data_type();
        if let Expr::Value(held) = &value
            && let Value::Placeholder(name) = &held.value
        {
            self.typed.push((name.clone(), data_type.clone()));
            return call("arrow_cast", vec![value.clone(), text(&data_type.to_string())]);
        }
        value
    }
}

/// The column that an identifier means: as it is written, or in another case where it is not quoted.
pub(super) fn position(columns: &SchemaRef, ident: &Ident) -> Option<usize> {
    let fields = columns.fields();
    let exact = fields.iter().position(|field| *field.name() == ident.value);
    let means = |name: &str| ident.quote_style.is_none() && name.to_lowercase() == ident.value.to_lowercase();
    exact.or_else(|| fields.iter().position(|field| means(field.name())))
}

pub(super) fn delete(delete: Delete, over: &mut Over<'_>) -> Result<(Statement, Act), Error> {
    let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = delete.from;
    let written = tables.into_iter().next().ok_or_else(|| fault::invalid("DELETE FROM which table?"))?.relation;
    let mut from = vec![joined(over.factor(&written)?, Vec::new())];
    from.extend(delete.using.unwrap_or_default());
    let items = vec![named(over.own(&written, PLACE), PLACE)];
    Ok((statement(select(items, from, delete.selection)), Act::Delete))
}

pub(super) fn update(update: Update, over: &mut Over<'_>) -> Result<(Statement, Act), Error> {
    let written = update.table.relation;
    let set = over.assigned(update.assignments)?;
    let mut from = vec![joined(over.factor(&written)?, Vec::new())];
    if let Some(UpdateTableFromKind::AfterSet(tables) | UpdateTableFromKind::BeforeSet(tables)) = update.from {
        from.extend(tables);
    }
    let mut items = vec![named(over.own(&written, PLACE), PLACE)];
    for (field, value) in over.columns.fields().iter().zip(set) {
        items.push(named(value.unwrap_or_else(|| over.own(&written, field.name())), field.name()));
    }
    Ok((statement(select(items, from, update.selection)), Act::Update))
}

pub(super) fn merge(merge: Merge, over: &mut Over<'_>) -> Result<(Statement, Act), Error> {
    let Merge { table: written, source, on, clauses, .. } = merge;
    if clauses.is_empty() {
        return Err(fault::invalid("MERGE without a WHEN changes nothing"));
    }
    let of = |kind: &MergeClauseKind| clauses.iter().any(|clause| clause.clause_kind == *kind);
    let inserts = of(&MergeClauseKind::NotMatched) || of(&MergeClauseKind::NotMatchedByTarget);
    let by_source = of(&MergeClauseKind::NotMatchedBySource);
    let (source, there) = if by_source { marked(source)? } else { (source, None) };
    let constraint = JoinConstraint::On(*on);
    let operator = match (inserts, by_source) {
        (false, false) => JoinOperator::Inner(constraint),
        (true, false) => JoinOperator::RightOuter(constraint),
        (false, true) => JoinOperator::LeftOuter(constraint),
        (true, true) => JoinOperator::FullOuter(constraint),
    };
    let place = || Box::new(over.own(&written, PLACE));
    let mut deletes = Vec::new();
    let mut conditions = Vec::new();
    let mut values: Vec<Vec<(i64, Expr)>> = vec![Vec::new(); over.columns.fields().len()];
    let mut only_deletes = true;
    let is = |kind: &MergeClauseKind| match kind {
        MergeClauseKind::Matched => match &there {
            None => Expr::IsNotNull(place()),
            Some(there) => and(Expr::IsNotNull(place()), Expr::IsNotNull(Box::new(there.clone()))),
        },
        MergeClauseKind::NotMatched | MergeClauseKind::NotMatchedByTarget => Expr::IsNull(place()),
        MergeClauseKind::NotMatchedBySource => match &there {
            None => boolean(false),
            Some(there) => Expr::IsNull(Box::new(there.clone())),
        },
    };
    let mut kinds = Vec::new();
    for clause in &clauses {
        kinds.push(is(&clause.clause_kind));
    }
    for ((clause, kind), number) in clauses.into_iter().zip(kinds).zip(1_i64..) {
        let condition = match clause.predicate {
            Some(predicate) => and(kind, Expr::Nested(Box::new(predicate))),
            None => kind,
        };
        conditions.push(CaseWhen { condition, result: whole(number) });
        match clause.action {
            MergeAction::Delete { .. } => deletes.push(number),
            MergeAction::Update(update) => {
                only_deletes &= clause.clause_kind != MergeClauseKind::Matched;
                if update.update_predicate.is_some() || update.delete_predicate.is_some() {
                    return Err(refused(
                        "write conditions of MERGE before THEN: `WHEN MATCHED AND condition THEN ...`",
                    ));
                }
                for (at, value) in over.assigned(update.assignments)?.into_iter().enumerate() {
                    let value = value.unwrap_or_else(|| over.own(&written, over.columns.field(at).name()));
                    values[at].push((number, value));
                }
            }
            MergeAction::Insert(insert) => {
                let MergeInsertKind::Values(mut rows) = insert.kind else {
                    return Err(refused("MERGE inserts with `INSERT (columns) VALUES (...)`"));
                };
                let (Some(row), true, None) = (rows.rows.pop(), rows.rows.is_empty(), insert.insert_predicate) else {
                    return Err(fault::invalid("a clause of MERGE inserts one row: `INSERT (columns) VALUES (...)`"));
                };
                let columns: Vec<usize> = if insert.columns.is_empty() {
                    (0..over.columns.fields().len()).collect()
                } else {
                    let columns = insert.columns.into_iter().map(|name| over.column(&column_ident(name)?));
                    columns.collect::<Result<_, Error>>()?
                };
                if columns.len() != row.content.len() {
                    return Err(fault::invalid(format!(
                        "{} values are inserted into {} columns",
                        row.content.len(),
                        columns.len()
                    )));
                }
                for (at, value) in columns.into_iter().zip(row.content) {
                    if values[at].last().is_some_and(|(last, _)| *last == number) {
                        let name = over.columns.field(at).name();
                        return Err(fault::invalid(format!("column `{name}` is inserted twice")));
                    }
                    let value = over.value(value, at);
                    values[at].push((number, value));
                }
            }
        }
    }
    let clause = case(None, conditions, Some(whole(0)));
    let mut items = vec![named(over.own(&written, PLACE), PLACE), named(clause.clone(), CLAUSE)];
    for (field, values) in over.columns.fields().iter().zip(values) {
        let whens: Vec<CaseWhen> =
            values.into_iter().map(|(number, result)| CaseWhen { condition: whole(number), result }).collect();
        let value = if whens.is_empty() { null() } else { case(Some(clause.clone()), whens, None) };
        items.push(named(value, field.name()));
    }
    let join = Join { relation: source, global: false, join_operator: operator };
    let from = vec![joined(over.factor(&written)?, vec![join])];
    let wanted = Expr::BinaryOp { left: Box::new(clause), op: BinaryOperator::Gt, right: Box::new(whole(0)) };
    let act = Act::Merge { twice: only_deletes, deletes };
    Ok((statement(select(items, from, Some(wanted))), act))
}

/// The source with a column that tells whether a row of it is there, and that column.
fn marked(source: TableFactor) -> Result<(TableFactor, Option<Expr>), Error> {
    let name = match &source {
        TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } => {
            alias.name.clone()
        }
        TableFactor::Table { name, .. } => column_ident(name.clone())?,
        _ => return Err(fault::invalid("give the source of MERGE an alias")),
    };
    let all = SelectItem::Wildcard(WildcardAdditionalOptions::default());
    let items = vec![all, named(boolean(true), THERE)];
    let subquery = Box::new(select(items, vec![joined(source, Vec::new())], None));
    let alias = TableAlias { explicit: true, name: name.clone(), columns: Vec::new(), at: None };
    let there = Expr::CompoundIdentifier(vec![name, Ident::with_quote('"', THERE)]);
    Ok((TableFactor::Derived { lateral: false, subquery, alias: Some(alias), sample: None }, Some(there)))
}

fn statement(query: Query) -> Statement {
    Statement::Query(Box::new(query))
}

fn joined(relation: TableFactor, joins: Vec<Join>) -> TableWithJoins {
    TableWithJoins { relation, joins }
}

fn table(name: &str, alias: Option<TableAlias>) -> TableFactor {
    TableFactor::Table {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::with_quote('"', name))]),
        alias,
        args: None,
        with_hints: Vec::new(),
        version: None,
        with_ordinality: false,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_hints: Vec::new(),
    }
}

fn named(expr: Expr, name: &str) -> SelectItem {
    SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', name) }
}

fn and(left: Expr, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op: BinaryOperator::And, right: Box::new(right) }
}

fn value(value: Value) -> Expr {
    Expr::Value(value.into())
}

fn null() -> Expr {
    value(Value::Null)
}

fn boolean(flag: bool) -> Expr {
    value(Value::Boolean(flag))
}

fn whole(number: i64) -> Expr {
    value(Value::Number(number.to_string(), false))
}

fn text(text: &str) -> Expr {
    value(Value::SingleQuotedString(text.to_owned()))
}

fn case(operand: Option<Expr>, conditions: Vec<CaseWhen>, otherwise: Option<Expr>) -> Expr {
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: operand.map(Box::new),
        conditions,
        else_result: otherwise.map(Box::new),
    }
}

fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

fn select(items: Vec<SelectItem>, from: Vec<TableWithJoins>, selection: Option<Expr>) -> Query {
    let select = Select {
        projection: items,
        from,
        selection,
        group_by: GroupByExpr::Expressions(Vec::new(), Vec::new()),
        flavor: SelectFlavor::Standard,
        ..empty_select()
    };
    Query {
        with: None,
        body: Box::new(SetExpr::Select(Box::new(select))),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    }
}

fn empty_select() -> Select {
    Select {
        select_token: AttachedToken::empty(),
        optimizer_hints: Vec::new(),
        distinct: None,
        select_modifiers: None,
        top: None,
        top_before_distinct: false,
        projection: Vec::new(),
        exclude: None,
        into: None,
        from: Vec::new(),
        lateral_views: Vec::new(),
        prewhere: None,
        selection: None,
        connect_by: Vec::new(),
        group_by: GroupByExpr::Expressions(Vec::new(), Vec::new()),
        cluster_by: Vec::new(),
        distribute_by: Vec::new(),
        sort_by: Vec::new(),
        having: None,
        named_window: Vec::new(),
        qualify: None,
        window_before_qualify: false,
        value_table_mode: None,
        flavor: SelectFlavor::Standard,
    }
}
