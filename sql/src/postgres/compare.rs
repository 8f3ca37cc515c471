//! Comparisons and casts of PostgreSQL, as the engine has them.

use super::ast::{arguments, array, call, cast, last, meant, null, number, parsed, placeholder, text, texts};
use super::{array::array_items, interval, moment};

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Array, BinaryOperator, DataType, Expr, ObjectName, ObjectNamePart, Query, Select, SetExpr, TableFactor,
    TableWithJoins, Value, Visit, visit_relations,
};

use super::path::{parts_of, text_of};
use crate::system;

/// Columns whose values are numbers of objects; clients write those in quotes.
const NUMBERS: [&str; 24] = [
    "oid",
    "attrelid",
    "indrelid",
    "indexrelid",
    "conrelid",
    "confrelid",
    "conindid",
    "stxrelid",
    "polrelid",
    "tgrelid",
    "inhrelid",
    "inhparent",
    "prrelid",
    "objoid",
    "classoid",
    "adrelid",
    "seqrelid",
    "relnamespace",
    "pronamespace",
    "typnamespace",
    "connamespace",
    "datdba",
    "reltype",
    "typrelid",
];

/// A plain operator by its sign.
pub(super) fn operator(sign: &str) -> Option<BinaryOperator> {
    Some(match sign {
        "=" => BinaryOperator::Eq,
        "<>" | "!=" => BinaryOperator::NotEq,
        "<" => BinaryOperator::Lt,
        ">" => BinaryOperator::Gt,
        "<=" => BinaryOperator::LtEq,
        ">=" => BinaryOperator::GtEq,
        "+" => BinaryOperator::Plus,
        "-" => BinaryOperator::Minus,
        "||" => BinaryOperator::StringConcat,
        "~" => BinaryOperator::PGRegexMatch,
        "~*" => BinaryOperator::PGRegexIMatch,
        "!~" => BinaryOperator::PGRegexNotMatch,
        "!~*" => BinaryOperator::PGRegexNotIMatch,
        "~~" => BinaryOperator::PGLikeMatch,
        "~~*" => BinaryOperator::PGILikeMatch,
        "!~~" => BinaryOperator::PGNotLikeMatch,
        "!~~*" => BinaryOperator::PGNotILikeMatch,
        _ => return None,
    })
}

/// A table of a FROM by the name that it goes by there.
pub(super) type Named = (String, ObjectName);

/// The tables of a query that are named, not computed.
pub(super) fn tables(query: &Query) -> Vec<Named> {
    let SetExpr::Select(select) = query.body.as_ref() else { return Vec::new() };
    tables_of(select)
}

/// The same of one select.
pub(super) fn tables_of(select: &Select) -> Vec<Named> {
    let factors = select.from.iter().flat_map(factors);
    let named = factors.filter_map(|factor| match factor {
        TableFactor::Table { name, args: None, .. } => Some((called(factor)?, name.clone())),
        TableFactor::Derived { subquery, .. } => Some((called(factor)?, taken_apart(subquery)?)),
        _ => None,
    });
    named.collect()
}

/// The table of a select that only takes a list of its rows apart ([`super::within`]).
fn taken_apart(query: &Query) -> Option<ObjectName> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    match select.from.as_slice() {
        [TableWithJoins { relation: TableFactor::Table { name, args: None, .. }, joins }]
            if joins.is_empty() && !select.lateral_views.is_empty() =>
        {
            Some(name.clone())
        }
        _ => None,
    }
}

pub(super) fn factors(item: &TableWithJoins) -> impl Iterator<Item = &TableFactor> {
    std::iter::once(&item.relation).chain(item.joins.iter().map(|join| &join.relation))
}

/// The name that a relation goes by.
pub(super) fn called(factor: &TableFactor) -> Option<String> {
    match factor {
        TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } => {
            Some(meant(&alias.name))
        }
        TableFactor::Table { name, .. } => name.0.last().and_then(ObjectNamePart::as_ident).map(meant),
        _ => None,
    }
}

/// What completed names have for PostgreSQL's `information_schema`, as [`crate::system`] has it.
const PG_INFORMATION: &str = "postgres information";

/// Whose tables a statement names, once its names are completed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Names {
    pub(super) catalogs: bool,
    /// Tables of users, which may have columns that are called as those of the catalogs.
    others: bool,
}

impl Names {
    pub(super) fn of<T: Visit>(part: &T) -> Self {
        let mut names = Self::default();
        // Nothing stops the walk.
        let _walked: ControlFlow<()> = visit_relations(part, |name| {
            match schema_of(name) {
                Some(system::PG_CATALOG) => names.catalogs = true,
                // A name without a schema is that of a CTE or of a function.
                None | Some(system::INFORMATION | PG_INFORMATION) => {}
                Some(_) => names.others = true,
            }
            ControlFlow::Continue(())
        });
        names
    }
}

fn schema_of(name: &ObjectName) -> Option<&str> {
    let schema = name.0.iter().rev().nth(1).and_then(ObjectNamePart::as_ident);
    schema.map(|schema| schema.value.as_str())
}

/// Where a name of a column stands.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) names: Names,
    /// The tables of its query and of those around, the nearest last.
    pub(super) around: &'a [Vec<Named>],
}

impl Scope<'_> {
    /// Whether a column is a catalog's. One that is named without its table may be a user's, where there are such tables.
    pub(super) fn is_of_catalog(self, column: &Expr) -> bool {
        if !self.names.others {
            return self.names.catalogs;
        }
        let Expr::CompoundIdentifier(idents) = column else { return false };
        let [.., table, _] = idents.as_slice() else { return false };
        let table = meant(table);
        let found = self.around.iter().rev().flatten().find(|(known, _)| *known == table);
        found.is_some_and(|(_, name)| schema_of(name) == Some(system::PG_CATALOG))
    }
}

/// `'16384'` beside a column of numbers is a number.
pub(super) fn numbered(column: &Expr, value: &mut Expr, scope: Scope<'_>) {
    let ident = match column {
        Expr::Identifier(ident) => Some(ident),
        Expr::CompoundIdentifier(idents) => idents.last(),
        _ => None,
    };
    let is_number = ident.is_some_and(|ident| NUMBERS.contains(&ident.value.to_lowercase().as_str()));
    if is_number
        && scope.is_of_catalog(column)
        && let Some(parsed) = text_of(value).and_then(|text| text.parse::<u32>().ok())
    {
        *value = number(i64::from(parsed));
    }
}

/// The items of a list that is written out: `ARRAY['r', 'v']`, `'{r,v}'`, with a cast or without.
pub(super) fn items(list: &Expr) -> Option<Vec<Expr>> {
    let items = match list {
        Expr::Nested(inner) => return items(inner),
        Expr::Cast { expr: inner, data_type, .. } if data_type.to_string().ends_with("[]") => return items(inner),
        Expr::Array(Array { elem, .. }) => elem.clone(),
        other => array_items(&text_of(other)?)?.into_iter().map(item).collect(),
    };
    // The planner knows no empty list.
    (!items.is_empty()).then_some(items)
}

fn item(item: Option<String>) -> Expr {
    item.map_or_else(null, |item| text(&item))
}

/// The hexadecimal digits of bytes that are written as `\x00ff`, with blanks between the bytes or without.
fn digits(written: &str) -> Option<String> {
    let digits = written.strip_prefix("\\x")?;
    let is_whole = digits.split_ascii_whitespace().all(|part| part.len().is_multiple_of(2));
    let digits: String = digits.split_ascii_whitespace().collect();
    (is_whole && digits.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(digits)
}

/// What a cast to a type of PostgreSQL's own means; `None` for one that the planner has.
pub(super) fn cast_of(inner: &Expr, data_type: &DataType) -> Option<Expr> {
    if let Some(put) = interval::cast(inner, data_type).or_else(|| moment::cast(inner, data_type)) {
        return Some(put);
    }
    let written = data_type.to_string().to_lowercase().replace('"', "");
    let short = written.trim_start_matches("pg_catalog.").trim_start_matches("information_schema.");
    let called = |name: &str| match inner {
        Expr::Function(call) if last(&call.name) == name => arguments(call)?.into_iter().next(),
        _ => None,
    };
    let is_text = text_of(inner).is_some();
    let hex = if short == "bytea" { text_of(inner).as_deref().and_then(digits) } else { None };
    match short {
        "regclass" => {
            let meant = match inner {
                Expr::BinaryOp { .. } | Expr::Function(_) => true,
                other => is_text || placeholder(other).is_some(),
            };
            if let Some(digits) = text_of(inner).filter(|text| text.parse::<u32>().is_ok()) {
                return Some(cast(text(&digits), DataType::IntUnsigned(None)));
            }
            Some(call(if meant { "regclass_in" } else { "regclass_out" }, vec![inner.clone()]))
        }
        "regtype" if is_text => {
            let known = text_of(inner).and_then(|name| system::by_name(&name));
            Some(known.map_or_else(|| call("regtype_in", vec![inner.clone()]), |oid| number(i64::from(oid))))
        }
        "regtype" => Some(call("format_type", vec![inner.clone(), cast(null(), DataType::Integer(None))])),
        "regnamespace" if is_text || placeholder(inner).is_some() => Some(call("regnamespace_in", vec![inner.clone()])),
        "regnamespace" => Some(call("regnamespace_out", vec![inner.clone()])),
        "regrole" if !is_text => Some(call("pg_get_userbyid", vec![inner.clone()])),
        "regproc" | "regprocedure" | "regoper" | "regoperator" | "regconfig" | "regdictionary" | "regcollation"
        | "regrole" => Some(match text_of(inner).as_deref().and_then(parts_of) {
            Some(parts) => text(parts.last()?),
            None => cast(inner.clone(), DataType::Text),
        }),
        "oid" | "xid" | "cid" | "xid8" => {
            let through =
                called("regclass_out").or_else(|| called("regnamespace_out")).or_else(|| called("format_type"));
            Some(cast(through.unwrap_or_else(|| inner.clone()), DataType::IntUnsigned(None)))
        }
        "text" | "varchar" | "character varying" | "name" if called("regclass_in").is_some() => {
            Some(call("regclass_out", vec![inner.clone()]))
        }
        "name" | "char" | "bpchar" | "cstring" | "citext" | "json" | "jsonb" | "uuid" | "xml" | "inet" | "cidr"
        | "macaddr" | "sql_identifier" | "character_data" | "yes_or_no" | "unknown" | "tsvector" | "pg_node_tree"
        | "text" => Some(cast(inner.clone(), DataType::Text)),
        "bytea" if hex.is_some() => hex.map(|digits| Expr::value(Value::HexStringLiteral(digits))),
        "cardinal_number" => Some(cast(inner.clone(), DataType::Integer(None))),
        "anyarray" | "int2vector" | "oidvector" | "regtype[]" | "regclass[]" => Some(inner.clone()),
        list if list.ends_with("[]") && is_text => {
            // There is no such function, which is what a text that is no list is told.
            let Some(items) = array_items(&text_of(inner)?) else { return Some(call("array_in", vec![inner.clone()])) };
            let items = items.into_iter().map(item).collect();
            let texts_only = matches!(list, "text[]" | "name[]" | "varchar[]" | "char[]" | "bpchar[]" | "uuid[]");
            let of = if texts_only { texts() } else { parsed(list)? };
            Some(cast(array(items), of))
        }
        "name[]" | "char[]" | "bpchar[]" | "uuid[]" => Some(cast(inner.clone(), texts())),
        "oid[]" => Some(cast(inner.clone(), parsed("int unsigned[]")?)),
        short if written != short => Some(cast(inner.clone(), parsed(short)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("\\x00ff", Some("00ff"))]
    #[case("\\x00 FF\n0a", Some("00FF0a"))]
    #[case("\\x", Some(""))]
    #[case("\\x0 0", None)]
    #[case("\\x0", None)]
    #[case("\\xzz", None)]
    #[case("00ff", None)]
    fn bytes_are_written_in_digits(#[case] written: &str, #[case] expected: Option<&str>) {
        assert_eq!(digits(written).as_deref(), expected);
    }
}
