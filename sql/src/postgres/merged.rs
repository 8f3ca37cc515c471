//! Columns that `USING` merges. The engine finds one that a WHERE names without its table in both tables and calls it ambiguous;
//! it is the left table's, since no join here keeps rows that the left one lacks.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, JoinConstraint, JoinOperator, ObjectNamePart, Query, Select, VisitMut, VisitorMut,
};

use super::{ast::meant, compare::called};

/// Names the table of merged columns in the WHERE of a select.
pub(super) fn qualify(select: &mut Select) {
    let ([item], Some(condition)) = (select.from.as_slice(), &mut select.selection) else { return };
    let Some(table) = called(&item.relation) else { return };
    let Some(constraints) = item.joins.iter().map(|join| constraint(&join.join_operator)).collect::<Option<Vec<_>>>()
    else {
        return;
    };
    // What a later join merges may be of any table before it.
    let Some(JoinConstraint::Using(columns)) = constraints.first() else { return };
    let idents = columns.iter().filter_map(|column| column.0.last().and_then(ObjectNamePart::as_ident));
    let merged: Vec<String> = idents.map(meant).collect();
    // Nothing stops the walk.
    let _walked: ControlFlow<()> = VisitMut::visit(condition, &mut Qualifier { table, merged, depth: 0 });
}

/// The constraint of a join that keeps no rows of its right side alone.
fn constraint(operator: &JoinOperator) -> Option<&JoinConstraint> {
    match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::CrossJoin(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint) => Some(constraint),
        _ => None,
    }
}

struct Qualifier {
    table: String,
    merged: Vec<String>,
    depth: usize,
}

impl VisitorMut for Qualifier {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(ident) = expr
            && self.depth == 0
            && self.merged.contains(&meant(ident))
        {
            *expr = Expr::CompoundIdentifier(vec![Ident::with_quote('"', &self.table), ident.clone()]);
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::ast::{SetExpr, Statement};
    use rstest::rstest;

    use super::*;
    use crate::dialect::parse;

    #[rstest]
    #[case(
        "SELECT a FROM t x JOIN u USING (a, b) JOIN c ON c.d = x.d WHERE A = 1 AND d = 2",
        "SELECT a FROM t x JOIN u USING(a, b) JOIN c ON c.d = x.d WHERE \"x\".A = 1 AND d = 2"
    )]
    #[case(
        "SELECT 1 FROM t LEFT JOIN u USING (a) WHERE a = 1",
        "SELECT 1 FROM t LEFT JOIN u USING(a) WHERE \"t\".a = 1"
    )]
    #[case("SELECT 1 FROM t RIGHT JOIN u USING (a) WHERE a = 1", "SELECT 1 FROM t RIGHT JOIN u USING(a) WHERE a = 1")]
    #[case("SELECT 1 FROM t JOIN u ON true WHERE a = 1", "SELECT 1 FROM t JOIN u ON true WHERE a = 1")]
    #[case(
        "SELECT 1 FROM t JOIN u USING (a) WHERE EXISTS (SELECT 1 FROM c WHERE a = 1)",
        "SELECT 1 FROM t JOIN u USING(a) WHERE EXISTS (SELECT 1 FROM c WHERE a = 1)"
    )]
    fn a_merged_column_is_the_left_tables(#[case] sql: &str, #[case] expected: &str) {
        let Statement::Query(mut query) = parse(sql).unwrap() else { panic!("no query") };
        let SetExpr::Select(select) = query.body.as_mut() else { panic!("no select") };
        qualify(select);
        assert_eq!(query.to_string(), expected);
    }
}
