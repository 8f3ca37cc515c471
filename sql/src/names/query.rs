use std::collections::HashMap;

use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{
    Cte, GroupByExpr, Ident, Join, JoinConstraint, JoinOperator, LateralView, ObjectName, ObjectNamePart, OrderByKind,
    Query, Select, SetExpr, Statement, TableAlias, TableFactor, TableWithJoins, Values,
};

use super::{
    Bindings,
    columns::{projection, values_columns},
    doubled::{APART, check_order},
    expr::{column, name_of, spell},
    merged,
    scope::{Col, Out, Relation, Scope, exact, means},
    tables::TableKey,
};
use crate::{Error, fault, lateral};

/// Puts the bound names into a statement and spells every column as its table does.
///
/// # Errors
/// What binding a table said, for a table that is really named; [`Error::Invalid`] for an ambiguous column and for forms
/// of FROM that are not known.
pub(crate) fn resolve(statement: &mut Statement, bindings: &mut Bindings) -> Result<(), Error> {
    resolve_as(statement, bindings, None)
}

/// As [`resolve`], for a statement whose rows somebody is told: two of its columns may have one name, which stand apart in the
/// plan by what follows [`APART`].
///
/// # Errors
/// As [`resolve`]; and for an order by such a name.
pub(crate) fn resolve_answer(statement: &mut Statement, bindings: &mut Bindings) -> Result<(), Error> {
    // A plan is shown as it is.
    let apart = if matches!(statement, Statement::Explain { .. }) { ' ' } else { APART };
    resolve_as(statement, bindings, Some(apart))
}

fn resolve_as(statement: &mut Statement, bindings: &mut Bindings, apart: Option<char>) -> Result<(), Error> {
    let mut walk = Walk { bindings, scopes: Vec::new(), ctes: Vec::new(), apart, several: Vec::new() };
    match statement {
        Statement::Query(query) => walk.query(query).map(drop),
        Statement::Explain { statement, .. } => resolve_as(statement, walk.bindings, apart),
        other => Err(Error::Refused { reason: format!("`{}` is not a query", keyword(other)) }),
    }
}

fn keyword(statement: &Statement) -> String {
    statement.to_string().split_whitespace().next().unwrap_or_default().to_owned()
}

/// The walk through a statement: the scopes around the place where it is.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    bindings: &'a mut Bindings,
    pub(super) scopes: Vec<Scope>,
    /// CTEs in reach by their names in the plan, innermost last.
    ctes: Vec<HashMap<String, Option<Vec<Col>>>>,
    /// Set while what comes next is the answer itself: what tells columns of one name apart.
    apart: Option<char>,
    /// Names of the answer's columns that may mean several values.
    pub(super) several: Vec<String>,
}

impl Walk<'_> {
    /// Walks a query and tells the columns of its answer, as far as they have names.
    pub(super) fn query(&mut self, query: &mut Query) -> Result<Vec<Col>, Error> {
        let apart = self.apart.take();
        self.ctes.push(HashMap::new());
        if let Some(with) = &mut query.with {
            for cte in &mut with.cte_tables {
                self.cte(cte, with.recursive)?;
            }
        }
        self.apart = apart;
        let (columns, mut scope) = self.body(&mut query.body)?;
        self.apart = None;
        scope.outputs.clone_from(&columns);
        scope.outputs_first = true;
        self.scopes.push(scope);
        if let Some(order_by) = &mut query.order_by
            && let OrderByKind::Expressions(exprs) = &mut order_by.kind
        {
            spell(exprs, self)?;
        }
        spell(&mut query.limit_clause, self)?;
        spell(&mut query.fetch, self)?;
        self.scopes.pop();
        self.ctes.pop();
        if apart.is_some() {
            check_order(query, &self.several)?;
        }
        Ok(columns)
    }

    fn cte(&mut self, cte: &mut Cte, recursive: bool) -> Result<(), Error> {
        let name = name_of(&cte.alias.name);
        if recursive {
            // Inside itself a recursive CTE has the columns of its first part.
            let mut first = cte.query.clone();
            while let SetExpr::SetOperation { left, .. } = *first.body {
                first.body = left;
            }
            first.order_by = None;
            let columns = self.query(&mut first)?;
            self.remember(&name, renamed(columns, &cte.alias.columns));
        }
        let columns = self.query(&mut cte.query)?;
        keep_case(&mut cte.alias);
        self.remember(&name, renamed(columns, &cte.alias.columns));
        Ok(())
    }

    fn remember(&mut self, name: &str, columns: Vec<Col>) {
        if let Some(frame) = self.ctes.last_mut() {
            frame.insert(name.to_owned(), Some(columns));
        }
    }

    fn body(&mut self, body: &mut SetExpr) -> Result<(Vec<Col>, Scope), Error> {
        match body {
            SetExpr::Select(select) => self.select(select),
            SetExpr::Query(query) => Ok((self.query(query)?, Scope::default())),
            SetExpr::SetOperation { left, right, .. } => {
                let apart = self.apart;
                let (columns, _) = self.body(left)?;
                let several = self.several.len();
                self.apart = apart;
                self.body(right)?;
                // The names are those of the left side.
                self.several.truncate(several);
                Ok((columns, Scope::default()))
            }
            SetExpr::Values(values) => {
                self.apart = None;
                self.values(values)
            }
            _ => Err(fault::invalid("write `SELECT * FROM t`")),
        }
    }

    fn values(&mut self, values: &mut Values) -> Result<(Vec<Col>, Scope), Error> {
        self.scopes.push(Scope::default());
        spell(values, self)?;
        self.scopes.pop();
        Ok((values_columns(values), Scope::default()))
    }

    fn select(&mut self, select: &mut Select) -> Result<(Vec<Col>, Scope), Error> {
        if !select.connect_by.is_empty() || select.prewhere.is_some() {
            return Err(fault::invalid("CONNECT BY and PREWHERE are not known"));
        }
        let apart = self.apart.take();
        self.scopes.push(Scope::default());
        let mut stars = Some(Vec::new());
        for item in &mut select.from {
            let columns = self.table_with_joins(item)?;
            stars = stars.zip(columns).map(|(stars, columns)| [stars, columns].concat());
        }
        for view in &mut select.lateral_views {
            self.lateral_view(view)?;
            let columns = self.scopes.last().and_then(|scope| scope.relations.last()).and_then(merged::columns);
            stars = stars.zip(columns).map(|(stars, columns)| [stars, columns].concat());
        }
        if let Some(scope) = self.scopes.last_mut() {
            scope.stars = stars;
        }
        lateral::carry(select);
        spell(&mut select.distinct, self)?;
        let columns = projection(&mut select.projection, self, apart)?;
        if let Some(scope) = self.scopes.last_mut() {
            scope.outputs.clone_from(&columns);
        }
        spell(&mut select.selection, self)?;
        if let GroupByExpr::Expressions(..) = select.group_by {
            spell(&mut select.group_by, self)?;
        }
        spell(&mut select.having, self)?;
        spell(&mut select.named_window, self)?;
        spell(&mut select.qualify, self)?;
        let scope = self.scopes.pop().unwrap_or_default();
        Ok((columns, scope))
    }

    /// A view is one more relation; it may use the columns of those before it.
    fn lateral_view(&mut self, view: &mut LateralView) -> Result<(), Error> {
        let with_place = lateral::tells_place(view);
        let Some(list) = lateral::list_of(view) else {
            return Err(fault::invalid("LATERAL VIEW knows explode(list), explode(map) and posexplode(list)"));
        };
        spell(list, self)?;
        let data_type = column(&self.scopes, list)?.and_then(|(_, data_type, _)| data_type);
        let item = match &data_type {
            Some(DataType::List(item)) => Some(item.data_type().clone()),
            _ => None,
        };
        let alias = &mut view.lateral_col_alias;
        if alias.is_empty() {
            let names: &[&str] = match data_type {
                Some(DataType::Map(..)) => &["key", "value"],
                Some(_) if !with_place => &["col"],
                None if !with_place => &[],
                _ => &["pos", "col"],
            };
            alias.extend(names.iter().map(|name| Ident::new(*name)));
        }
        for name in &mut *alias {
            *name = exact(name, &name.value.clone());
        }
        let last = alias.len().saturating_sub(1);
        let columns = alias.iter().enumerate();
        let columns =
            columns.map(|(at, name)| Col::new(&name.value, item.clone().filter(|_| at == last))).collect::<Vec<_>>();
        let Some(name) = view.lateral_view_name.0.last().and_then(ObjectNamePart::as_ident).map(name_of) else {
            return Err(fault::invalid("a lateral view has a name: `LATERAL VIEW explode(list) name AS column`"));
        };
        let ident = ObjectNamePart::Identifier(Ident::with_quote('"', &name));
        view.lateral_view_name = ObjectName(vec![ident]);
        // Of a list or a map, which only the planner knows.
        let columns = (!columns.is_empty()).then_some(columns);
        self.add(Relation { qualifier: Some(name.clone()), parts: vec![name], columns });
        Ok(())
    }

    /// The columns that come of it, where they are known.
    fn table_with_joins(&mut self, item: &mut TableWithJoins) -> Result<Option<Vec<Out>>, Error> {
        let mut columns = self.side(&mut item.relation)?;
        for join in &mut item.joins {
            columns = self.join(join, columns)?;
        }
        Ok(columns)
    }

    fn side(&mut self, factor: &mut TableFactor) -> Result<Option<Vec<Out>>, Error> {
        if let TableFactor::NestedJoin { table_with_joins, alias: None } = factor {
            return self.table_with_joins(table_with_joins);
        }
        let before = self.scopes.last().map_or(0, |scope| scope.relations.len());
        self.factor(factor)?;
        let added = self.scopes.last().map(|scope| &scope.relations[before..]).unwrap_or_default();
        let columns: Option<Vec<Vec<Out>>> = added.iter().map(merged::columns).collect();
        Ok(columns.map(|columns| columns.concat()))
    }

    fn join(&mut self, join: &mut Join, left: Option<Vec<Out>>) -> Result<Option<Vec<Out>>, Error> {
        let right = self.side(&mut join.relation)?;
        if let (Some(left), Some(right)) = (left, right) {
            let is_by_names = merged::is_by_names(&join.join_operator);
            let columns = merged::join(&mut join.join_operator, left, right)?;
            if is_by_names && let Some(scope) = self.scopes.last_mut() {
                let new: Vec<Out> = merged::merged(&columns).cloned().collect();
                scope.merged.retain(|old| new.iter().all(|new| new.name != old.name));
                scope.merged.extend(new);
            }
            self.constraint(join)?;
            return Ok(Some(columns));
        }
        self.constraint(join)?;
        Ok(None)
    }

    fn constraint(&mut self, join: &mut Join) -> Result<(), Error> {
        let constraint = match &mut join.join_operator {
            JoinOperator::Join(c)
            | JoinOperator::Inner(c)
            | JoinOperator::Left(c)
            | JoinOperator::LeftOuter(c)
            | JoinOperator::Right(c)
            | JoinOperator::RightOuter(c)
            | JoinOperator::FullOuter(c)
            | JoinOperator::CrossJoin(c)
            | JoinOperator::Semi(c)
            | JoinOperator::LeftSemi(c)
            | JoinOperator::RightSemi(c)
            | JoinOperator::Anti(c)
            | JoinOperator::LeftAnti(c)
            | JoinOperator::RightAnti(c) => c,
            _ => return Err(fault::invalid("this kind of join is not known")),
        };
        match constraint {
            JoinConstraint::On(expr) => spell(expr, self),
            JoinConstraint::Using(names) => {
                for name in names {
                    self.using(name);
                }
                Ok(())
            }
            JoinConstraint::Natural | JoinConstraint::None => Ok(()),
        }
    }

    /// A column of USING has one name on both sides.
    fn using(&self, name: &mut ObjectName) {
        let Some(scope) = self.scopes.last() else { return };
        let Some(ident) = name.0.first().and_then(ObjectNamePart::as_ident).cloned() else { return };
        let known = scope.relations.iter().rev().filter(|relation| relation.columns.is_some());
        if let Some(found) = known.filter_map(|relation| relation.column(std::slice::from_ref(&ident))).next() {
            *name = ObjectName(found.idents.into_iter().map(ObjectNamePart::Identifier).collect());
        }
    }

    fn factor(&mut self, factor: &mut TableFactor) -> Result<(), Error> {
        match factor {
            TableFactor::Table { sample: Some(_), .. } => Err(fault::invalid("TABLESAMPLE is not known")),
            TableFactor::Table { with_ordinality: true, .. } => Err(fault::invalid("WITH ORDINALITY is not known")),
            TableFactor::Table { name, alias, args: Some(args), .. } => {
                spell(&mut args.args, self)?;
                if let [ObjectNamePart::Identifier(ident)] = name.0.as_mut_slice() {
                    *ident = Ident { quote_style: None, value: ident.value.to_lowercase(), span: ident.span };
                }
                self.unknown(alias.as_mut());
                Ok(())
            }
            TableFactor::Table { .. } => self.table(factor),
            TableFactor::Derived { lateral, subquery, alias, .. } => {
                let siblings = if *lateral { None } else { self.scopes.pop() };
                let columns = self.query(subquery)?;
                self.scopes.extend(siblings);
                let named = alias.as_mut().map(|alias| {
                    keep_case(alias);
                    (name_of(&alias.name), renamed(columns.clone(), &alias.columns))
                });
                let (qualifier, columns) = named.map_or((None, columns), |(name, columns)| (Some(name), columns));
                let parts = qualifier.iter().cloned().collect();
                self.add(Relation { qualifier, parts, columns: Some(columns) });
                Ok(())
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                self.table_with_joins(table_with_joins).map(drop)
            }
            TableFactor::UNNEST { alias, array_exprs, .. } => {
                spell(array_exprs, self)?;
                self.unknown(alias.as_mut());
                Ok(())
            }
            TableFactor::Function { alias, args, .. } => {
                spell(args, self)?;
                self.unknown(alias.as_mut());
                Ok(())
            }
            _ => Err(fault::invalid("this form of FROM is not known")),
        }
    }

    fn table(&mut self, factor: &mut TableFactor) -> Result<(), Error> {
        let TableFactor::Table { name, alias, version, with_hints, partitions, json_path, .. } = factor else {
            return Ok(());
        };
        if !with_hints.is_empty() || !partitions.is_empty() || json_path.is_some() {
            return Err(fault::invalid("hints, partitions and paths after a table are not known"));
        }
        let key = TableKey::read(name, version.as_ref())?;
        let span = name.0.first().and_then(ObjectNamePart::as_ident).map(|ident| ident.span);
        let quoted = |text: &str| {
            let ident = Ident::with_quote('"', text);
            ObjectNamePart::Identifier(span.map_or(ident.clone(), |span| Ident { span, ..ident }))
        };
        if let Some((cte, columns)) = self.find_cte(name).filter(|_| key.as_of.is_none()) {
            *name = ObjectName(vec![quoted(&cte)]);
            let qualifier = alias.as_ref().map_or_else(|| cte.clone(), |alias| name_of(&alias.name));
            let columns = columns.map(|columns| renamed_by(columns, alias.as_mut()));
            self.add(Relation { parts: vec![qualifier.clone()], qualifier: Some(qualifier), columns });
            return Ok(());
        }
        let bound = match self.bindings.get(&key) {
            Some(Ok(bound)) => bound.clone(),
            Some(Err(_)) => {
                return match self.bindings.remove(&key) {
                    Some(Err(error)) => Err(error),
                    _ => Err(Error::NoSuchTable { table: key.to_string(), hint: String::new() }),
                };
            }
            None => return Err(Error::NoSuchTable { table: key.to_string(), hint: String::new() }),
        };
        *name = ObjectName(bound.relation.iter().map(|part| quoted(part)).collect());
        *version = None;
        let columns = bound.columns.fields().iter().map(|f| Col::new(f.name(), Some(f.data_type().clone()))).collect();
        let (parts, qualifier) = match alias {
            Some(alias) => (vec![name_of(&alias.name)], name_of(&alias.name)),
            None => {
                let qualifier = self.free_qualifier(&bound.name);
                *alias = Some(TableAlias {
                    explicit: true,
                    name: Ident::with_quote('"', &qualifier),
                    columns: Vec::new(),
                    at: None,
                });
                (bound.name.to_vec(), qualifier)
            }
        };
        let columns = renamed_by(columns, alias.as_mut());
        self.add(Relation { qualifier: Some(qualifier), parts, columns: Some(columns) });
        Ok(())
    }

    /// The table's own name, or the whole name where another table of the FROM is called the same.
    fn free_qualifier(&self, name: &[String; 3]) -> String {
        let taken = |text: &str| {
            let relations = self.scopes.last().map(|scope| scope.relations.as_slice()).unwrap_or_default();
            relations.iter().any(|relation| relation.qualifier.as_deref() == Some(text))
        };
        let [_, _, table] = name;
        let mut candidate = table.clone();
        let mut number = 1;
        while taken(&candidate) {
            candidate = if number == 1 { name.join(".") } else { format!("{} {number}", name.join(".")) };
            number += 1;
        }
        candidate
    }

    fn find_cte(&self, name: &ObjectName) -> Option<(String, Option<Vec<Col>>)> {
        let [part] = name.0.as_slice() else { return None };
        let ident = part.as_ident()?;
        let found = self.ctes.iter().rev().find_map(|frame| frame.iter().find(|(name, _)| means(ident, name)));
        found.map(|(name, columns)| (name.clone(), columns.clone()))
    }

    /// A relation whose columns only the planner knows, unless its alias names them.
    fn unknown(&mut self, alias: Option<&mut TableAlias>) {
        let relation = match alias {
            None => Relation { qualifier: None, parts: Vec::new(), columns: None },
            Some(alias) => {
                keep_case(alias);
                let name = name_of(&alias.name);
                let columns: Vec<Col> = alias.columns.iter().map(|c| Col::new(name_of(&c.name), None)).collect();
                let columns = (!columns.is_empty()).then_some(columns);
                Relation { parts: vec![name.clone()], qualifier: Some(name), columns }
            }
        };
        self.add(relation);
    }

    fn add(&mut self, relation: Relation) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.relations.push(relation);
        }
    }
}

/// Column names that an alias gives keep the case in which they were written.
fn keep_case(alias: &mut TableAlias) {
    for column in &mut alias.columns {
        column.name = exact(&column.name, &column.name.value.clone());
    }
}

fn renamed_by(columns: Vec<Col>, alias: Option<&mut TableAlias>) -> Vec<Col> {
    match alias {
        None => columns,
        Some(alias) => {
            keep_case(alias);
            renamed(columns, &alias.columns)
        }
    }
}

fn renamed(mut columns: Vec<Col>, names: &[datafusion::sql::sqlparser::ast::TableAliasColumnDef]) -> Vec<Col> {
    for (position, name) in names.iter().enumerate() {
        match columns.get_mut(position) {
            Some(column) => column.name.clone_from(&name.name.value),
            None => columns.push(Col::new(&name.name.value, None)),
        }
    }
    columns
}
