//! What a statement says of its parameters by itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

use arrow::datatypes::DataType as Arrow;
use datafusion::{
    execution::SessionState,
    sql::sqlparser::ast::{
        ColumnDef, DataType, ExactNumberInfo, Expr, Ident, Statement, Value, ValueWithSpan, Visit, Visitor,
    },
};

use super::{
    Postgres,
    ast::{arguments, last, placeholder},
};
use crate::{micros::in_micros, planner};

/// Types of parameters, by their places.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Those that hold wherever the parameter stands.
    pub(super) fixed: Vec<Option<Arrow>>,
    /// Those of parameters of which nothing else is known.
    pub(super) otherwise: Vec<Option<Arrow>>,
}

/// The parameters of a statement as it is written, and the types that they are cast to.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// As many as the largest number says.
    pub(super) count: usize,
    seen: BTreeSet<usize>,
    /// The first cast of each, and whether nothing stands before it: then PostgreSQL takes the parameter to be of that type.
    casts: BTreeMap<usize, (DataType, bool)>,
    /// Those that stand for a column that is written: they are of its type, whatever was declared.
    written: BTreeSet<usize>,
}

impl Written {
    pub(super) fn of(statement: &Statement) -> Self {
        let mut written = Self::default();
        // Nothing stops the walk.
        let _walked: ControlFlow<()> = statement.visit(&mut written);
        written
    }

    /// Names of types that PostgreSQL has and the engine reads as texts, by the places of parameters.
    pub(super) fn spelled(&self) -> Vec<Option<&'static str>> {
        const NAMES: [&str; 6] = ["uuid", "json", "jsonb", "uuid[]", "json[]", "jsonb[]"];
        let of = |number: usize| {
            let (data_type, is_first) = self.casts.get(&number)?;
            let name = data_type.to_string().to_lowercase();
            let name = name.trim_start_matches("pg_catalog.");
            NAMES.into_iter().find(|known| *is_first && *known == name)
        };
        (0..self.count).map(of).collect()
    }

    /// The types as the engine has them, with what the client declared before all.
    pub(super) fn told(&self, own: &Postgres, state: &SessionState) -> Told {
        let count = self.count.max(own.parameters.len());
        let mut told = Told { fixed: vec![None; count], otherwise: vec![None; count] };
        for number in 0..count {
            let declared = own.parameters.get(number).cloned().flatten();
            let cast = self.casts.get(&number);
            let meant = cast.and_then(|(data_type, _)| meant(data_type, state));
            let is_first = cast.is_some_and(|(_, is_first)| *is_first);
            let fixed = declared.or_else(|| meant.clone().filter(|_| is_first));
            told.fixed[number] = fixed.filter(|_| !self.written.contains(&number));
            told.otherwise[number] = meant;
        }
        told
    }
}

impl Visitor for Written {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Cast { expr: inner, data_type, .. } = expr
            && let Some(number) = placeholder(inner)
        {
            let is_first = !self.seen.contains(&number);
            self.casts.entry(number).or_insert_with(|| (data_type.clone(), is_first));
        }
        if let Expr::Function(call) = expr
            && last(&call.name) == "arrow_cast"
        {
            self.written.extend(arguments(call).and_then(|values| placeholder(values.first()?)));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_value(&mut self, value: &ValueWithSpan) -> ControlFlow<()> {
        if let Value::Placeholder(name) = &value.value
            && let Some(number) = name.strip_prefix('$').and_then(|number| number.parse::<u16>().ok())
        {
            self.count = self.count.max(usize::from(number));
            self.seen.insert(usize::from(number).saturating_sub(1));
        }
        ControlFlow::Continue(())
    }
}

/// Digits after the point that a number keeps where nothing is said.
const SCALE: i64 = 10;

/// The engine's type for one of SQL. How many digits a number keeps is what the cast is for, and no matter of the parameter.
fn meant(data_type: &DataType, state: &SessionState) -> Option<Arrow> {
    let data_type = match data_type {
        DataType::Numeric(info) | DataType::Decimal(info) | DataType::Dec(info) => DataType::Numeric(match *info {
            ExactNumberInfo::PrecisionAndScale(_, scale) if scale > SCALE => {
                ExactNumberInfo::PrecisionAndScale(38, scale)
            }
            _ => ExactNumberInfo::None,
        }),
        other => other.clone(),
    };
    let column = ColumnDef { name: Ident::new("parameter"), data_type, options: Vec::new() };
    let schema = planner::columns(state, vec![column]).ok()?;
    let meant = planner::plain_type(schema.fields().first()?.data_type());
    Some(in_micros(&meant).unwrap_or(meant))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::dialect::parse;

    #[rstest]
    #[case("SELECT 1", 0)]
    #[case("SELECT $2", 2)]
    #[case("SELECT '$1', \"$2\" -- $3", 0)]
    #[case("SELECT a FROM t WHERE b LIKE 'x' AND c IN (SELECT $1) LIMIT $3 OFFSET $2", 3)]
    fn parameters_are_counted(#[case] sql: &str, #[case] count: usize) {
        assert_eq!(Written::of(&parse(sql).unwrap()).count, count);
    }

    #[rstest]
    #[case("SELECT $1::int, $2::text, CAST($3 AS bigint)", &["0 INT true", "1 TEXT true", "2 BIGINT true"])]
    #[case("SELECT ($1)::int", &["0 INT true"])]
    #[case("SELECT a FROM t WHERE b = $1 OR $1::text IS NULL", &["0 TEXT false"])]
    #[case("SELECT a FROM t WHERE $1::text IS NULL OR b = $1::int", &["0 TEXT true"])]
    #[case("SELECT (a + $1)::int", &[])]
    fn a_cast_tells_the_type(#[case] sql: &str, #[case] expected: &[&str]) {
        let written = Written::of(&parse(sql).unwrap());
        let casts = written.casts.iter().map(|(number, (of, is_first))| format!("{number} {of} {is_first}"));
        assert_eq!(casts.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn types_that_the_engine_reads_as_texts_keep_their_names() {
        let written = Written::of(&parse("SELECT $1::uuid, $2::JSONB, $3::int, $4, $5::uuid[]").unwrap());
        assert_eq!(written.spelled(), [Some("uuid"), Some("jsonb"), None, None, Some("uuid[]")]);
    }
}
