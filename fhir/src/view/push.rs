//! What of a view, and of a query over it, can be said of the resources themselves: conditions on columns of their table, so
//! that a scan can leave files and row groups out. A condition here is necessary, not sufficient: the view and the query
//! test what they say all the same.

use arrow::datatypes::{DataType, Schema};
use datafusion::{
    common::{
        Column, ScalarValue,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    logical_expr::{Expr as Condition, Operator as Compared},
};

use super::{Over, Plan, plan::PlannedSelect};
use crate::{
    ResourceType,
    definitions::{self, Primitive},
    path::{
        expr::{Expr, Function, Kind, Node},
        syntax::{Literal, Operator},
    },
    shape,
};

/// What a column of a view holds, where that is a column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The same values.
    Same(&'static str),
    /// The id of a Patient, which is in `__patient` where it is in this one.
    Patient,
}

impl Plan {
    /// Conditions that every resource meets which the view makes rows of, on columns that the table has.
    #[must_use]
    pub fn implied(&self, table: &Schema) -> Vec<Condition> {
        let mut found = Vec::new();
        for place in &self.wheres {
            implied(self.resource(), &place.expr, table, &mut found);
        }
        found
    }

    /// A condition on columns of the view as one on the resources' table, where it has these columns: one that holds for
    /// every resource with a row that meets it. `None` where nothing can be said.
    #[must_use]
    pub fn on_resources(&self, condition: &Condition, table: &Schema) -> Option<Condition> {
        let mut sources = Vec::new();
        collect(self.resource(), &self.select, true, &mut sources);
        let schema = self.schema();
        let source = |column: &Condition| match column {
            Condition::Column(column) => sources.get(schema.index_of(&column.name).ok()?).copied().flatten(),
            _ => None,
        };
        let moved = moved(condition, &source)?;
        let there = moved.column_refs().into_iter().all(|column| table.field_with_name(&column.name).is_ok());
        there.then_some(moved)
    }
}

fn known(name: &str) -> Condition {
    Condition::Column(Column::new_unqualified(name))
}

fn moved(condition: &Condition, source: &impl Fn(&Condition) -> Option<Source>) -> Option<Condition> {
    let is_literal = |value: &Condition| matches!(value, Condition::Literal(..));
    match condition {
        Condition::BinaryExpr(binary) if binary.op == Compared::And => {
            match (moved(&binary.left, source), moved(&binary.right, source)) {
                (Some(left), Some(right)) => Some(left.and(right)),
                (left, right) => left.or(right),
            }
        }
        Condition::BinaryExpr(binary) if binary.op == Compared::Or => {
            Some(moved(&binary.left, source)?.or(moved(&binary.right, source)?))
        }
        Condition::BinaryExpr(binary) if source(&binary.left) == Some(Source::Patient) => {
            let is = binary.op == Compared::Eq && is_literal(&binary.right);
            is.then(|| known("__patient").eq(Condition::clone(&binary.right)))
        }
        Condition::InList(list) if source(&list.expr) == Some(Source::Patient) => {
            let is = !list.negated && list.list.iter().all(is_literal);
            is.then(|| known("__patient").in_list(list.list.clone(), false))
        }
        other => renamed(other, source),
    }
}

/// A condition on columns that are the table's own, under their names there. Only comparisons: they cannot fail on a
/// resource that the view leaves out.
fn renamed(condition: &Condition, source: &impl Fn(&Condition) -> Option<Source>) -> Option<Condition> {
    let mut fits = true;
    let renamed = condition.clone().transform_down(|part| {
        let named = match source(&part) {
            Some(Source::Same(name)) => return Ok(Transformed::new(known(name), true, TreeNodeRecursion::Jump)),
            _ => part,
        };
        fits &= match &named {
            Condition::Literal(..)
            | Condition::Not(_)
            | Condition::IsNull(_)
            | Condition::IsNotNull(_)
            | Condition::InList(_)
            | Condition::Between(_)
            | Condition::Like(_) => true,
            Condition::BinaryExpr(binary) => matches!(
                binary.op,
                Compared::Eq
                    | Compared::NotEq
                    | Compared::Lt
                    | Compared::LtEq
                    | Compared::Gt
                    | Compared::GtEq
                    | Compared::And
                    | Compared::Or
            ),
            _ => false,
        };
        Ok(Transformed::no(named))
    });
    renamed.ok().filter(|_| fits).map(|renamed| renamed.data)
}

/// `of_resource`: whether the select has the resource itself as its focus.
fn collect(resource: ResourceType, select: &PlannedSelect, of_resource: bool, sources: &mut Vec<Option<Source>>) {
    let of_resource = of_resource && matches!(select.over, Over::Parent);
    for column in &select.columns {
        let found = of_resource && !column.collection;
        let found = found.then(|| source(resource, &column.path.expr)).flatten();
        // A column of another type than its own is written otherwise.
        let own = column.path.expr.types.first().and_then(|own| own.primitive());
        let same_type = own.is_some_and(|own| match column.data_type {
            DataType::Boolean => own == Primitive::Boolean,
            DataType::Int32 => own.is_integer(),
            DataType::Utf8 => is_text(own),
            _ => false,
        });
        sources.push(found.filter(|_| same_type));
    }
    for select in &select.selects {
        collect(resource, select, of_resource, sources);
    }
    if let Some(first) = select.unions.first() {
        // Each branch has its own meaning for a column.
        collect(resource, first, false, sources);
    }
}

fn is_text(primitive: Primitive) -> bool {
    !matches!(primitive, Primitive::Boolean | Primitive::Decimal) && !primitive.is_integer()
}

fn source(resource: ResourceType, expr: &Expr) -> Option<Source> {
    match &expr.node {
        Node::Call(Function::ResourceKey, base, _) if is_root(base) => Some(Source::Same("id")),
        Node::Call(Function::ReferenceKey, base, target) => {
            let to_patient = matches!(target.as_slice(), [Expr { node: Node::Literal(Literal::Text(name)), .. }] if name == "Patient");
            let Node::Member(root, name) = &base.node else { return None };
            let tells = shape::tells_patient(resource, name);
            (to_patient && is_root(root) && tells).then_some(Source::Patient)
        }
        _ => plain(resource, expr).map(Source::Same),
    }
}

fn is_root(expr: &Expr) -> bool {
    matches!(expr.node, Node::This | Node::Context | Node::Resource)
}

/// The column of a primitive element of the resource itself that occurs once at most; `meta` and its parts are Mavis's own.
fn plain(resource: ResourceType, expr: &Expr) -> Option<&'static str> {
    let Node::Member(base, name) = &expr.node else { return None };
    let element = definitions::element(definitions::root(resource), name)?;
    let primitive = element.type_id.primitive()?;
    let kept_as_is = is_text(primitive) || primitive == Primitive::Boolean || primitive.is_integer();
    (is_root(base) && !element.many && kept_as_is).then_some(element.name)
}

fn implied(resource: ResourceType, expr: &Expr, table: &Schema, found: &mut Vec<Condition>) {
    let column = |expr: &Expr| {
        let compared_as_is = expr.is_only(|kind| matches!(kind, Kind::Text | Kind::Boolean));
        plain(resource, expr).filter(|name| compared_as_is && table.field_with_name(name).is_ok())
    };
    match &expr.node {
        Node::Binary(Operator::And, left, right) => {
            implied(resource, left, table, found);
            implied(resource, right, table, found);
        }
        Node::Binary(Operator::Equal, left, right) => {
            let pair = match (column(left), value(right), value(left), column(right)) {
                (Some(name), Some(value), ..) | (.., Some(value), Some(name)) => Some((name, value)),
                _ => None,
            };
            found.extend(pair.map(|(name, value)| known(name).eq(Condition::Literal(value, None))));
        }
        Node::Member(..) => found.extend(column(expr).map(known)),
        _ => {}
    }
}

fn value(expr: &Expr) -> Option<ScalarValue> {
    match &expr.node {
        Node::Literal(Literal::Text(text)) => Some(ScalarValue::Utf8(Some(text.clone()))),
        Node::Literal(Literal::Boolean(truth)) => Some(ScalarValue::Boolean(Some(*truth))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{cast, ident, lit};
    use rstest::rstest;

    use super::*;
    use crate::{json, shape::base_schema, view::View};

    fn plan() -> Plan {
        let view = r#"{"resource":"Observation","status":"active","where":[
            {"path":"status = 'final' and code.exists()"},{"path":"value.ofType(Quantity).value > 3"}],
            "select":[{"column":[
                {"name":"key","path":"getResourceKey()"},
                {"name":"patient","path":"subject.getReferenceKey(Patient)"},
                {"name":"status","path":"status"},
                {"name":"number","path":"value.ofType(integer)"}]},
              {"forEach":"category","column":[{"name":"text","path":"text"}]}]}"#;
        Plan::new(&View::parse(&json::parse(view.as_bytes()).unwrap()).unwrap()).unwrap()
    }

    fn table() -> Schema {
        let base = base_schema("Observation".parse().unwrap());
        let mut fields: Vec<_> = base.fields().iter().cloned().collect();
        if base.field_with_name("status").is_err() {
            fields.push(std::sync::Arc::new(arrow::datatypes::Field::new("status", DataType::Utf8, true)));
        }
        Schema::new(fields)
    }

    #[test]
    fn a_comparison_in_where_holds_for_the_column() {
        assert_eq!(plan().implied(&table()), [ident("status").eq(lit("final"))]);
        assert_eq!(plan().implied(&Schema::empty()), []);
    }

    #[rstest]
    #[case(ident("key").eq(lit("a")), Some(ident("id").eq(lit("a"))))]
    #[case(ident("patient").eq(lit("p")), Some(ident("__patient").eq(lit("p"))))]
    #[case(ident("patient").in_list(vec![lit("p")], false), Some(ident("__patient").in_list(vec![lit("p")], false)))]
    #[case(ident("patient").not_eq(lit("p")), None)]
    #[case(!ident("patient").eq(lit("p")), None)]
    #[case(!ident("key").eq(lit("a")), Some(!ident("id").eq(lit("a"))))]
    #[case(ident("text").eq(lit("a")), None)]
    #[case(ident("text").eq(lit("a")).and(ident("key").eq(lit("a"))), Some(ident("id").eq(lit("a"))))]
    #[case(ident("text").eq(lit("a")).or(ident("key").eq(lit("a"))), None)]
    #[case(cast(ident("key"), DataType::Int32).eq(lit(1)), None)]
    #[case(ident("number").eq(lit(1)), None)]
    fn a_condition_on_a_view_becomes_one_that_its_resources_must_meet(
        #[case] condition: Condition,
        #[case] expected: Option<Condition>,
    ) {
        assert_eq!(plan().on_resources(&condition, &table()), expected);
    }
}
