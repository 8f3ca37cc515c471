use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName,
    ObjectNamePart, SelectItem, SelectItemQualifiedWildcardKind, Values, WildcardAdditionalOptions,
};

use super::{
    doubled::{Given, tell_apart},
    expr::{column, element, name_of, spell},
    merged::written_out,
    query::Walk,
    scope::{Col, Relation, exact, means},
};
use crate::Error;

/// Spells a select list and tells the columns that it gives, as far as they have names. `apart`: what tells those of one
/// name apart, where that is allowed.
pub(super) fn projection(
    items: &mut Vec<SelectItem>,
    walk: &mut Walk<'_>,
    apart: Option<char>,
) -> Result<Vec<Col>, Error> {
    if let Some(scope) = walk.scopes.last() {
        written_out(items, scope);
    }
    let mut columns = Vec::new();
    // Fields of columns, with the names they could have: the planner would call them `p.name[family]`.
    let mut fields: Vec<(usize, String)> = Vec::new();
    let (mut given, mut starred) = (Vec::new(), Vec::new());
    for (position, item) in items.iter_mut().enumerate() {
        match item {
            SelectItem::UnnamedExpr(expr) => {
                let was_column = matches!(expr, Expr::Identifier(_));
                if let Some((name, data_type, is_nested)) = named(expr, walk)?.filter(|(name, ..)| !name.is_empty()) {
                    if is_nested {
                        fields.push((position, name.clone()));
                    } else {
                        let is_plain = matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
                        given.push(Given { place: position, name: name.clone(), is_plain });
                    }
                    // A column that is one of two is still called as they are.
                    if was_column && matches!(expr, Expr::Function(_)) {
                        let alias = Ident::with_quote('"', &name);
                        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
                    }
                    columns.push(Col { name, data_type });
                }
            }
            SelectItem::ExprWithAlias { expr, alias } => {
                let data_type = named(expr, walk)?.and_then(|(_, data_type, _)| data_type);
                *alias = exact(alias, &alias.value.clone());
                given.push(Given { place: position, name: alias.value.clone(), is_plain: false });
                columns.push(Col { name: alias.value.clone(), data_type });
            }
            SelectItem::ExprWithAliases { expr, .. } => spell(expr, walk)?,
            SelectItem::Wildcard(options) => {
                let relations = walk.scopes.last().map(|scope| scope.relations.clone()).unwrap_or_default();
                let known = wildcard(&relations, options, walk)?;
                starred.extend(known.iter().map(|col| col.name.clone()));
                columns.extend(known);
            }
            SelectItem::QualifiedWildcard(kind, options) => {
                let relations = match kind {
                    SelectItemQualifiedWildcardKind::ObjectName(name) => qualified(name, walk),
                    SelectItemQualifiedWildcardKind::Expr(expr) => {
                        spell(expr, walk)?;
                        Vec::new()
                    }
                };
                let known = wildcard(&relations, options, walk)?;
                starred.extend(known.iter().map(|col| col.name.clone()));
                columns.extend(known);
            }
        }
    }
    for (position, name) in fields {
        // Two columns of one name would be refused, so a name that is taken is not given.
        if columns.iter().filter(|col| col.name == name).count() == 1
            && let Some(item) = items.get_mut(position)
            && let SelectItem::UnnamedExpr(expr) = item
        {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', &name) };
        }
    }
    if let Some(apart) = apart {
        let is_one = walk.scopes.last().is_some_and(|scope| scope.relations.len() == 1);
        walk.several.extend(tell_apart(items, &given, starred.into_iter(), apart, is_one));
    }
    Ok(columns)
}

type Named = (String, Option<DataType>, bool);

/// Spells an expression; tells its name if it is a column, a field of one, or a cast of either.
fn named(expr: &mut Expr, walk: &mut Walk<'_>) -> Result<Option<Named>, Error> {
    match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::CompoundFieldAccess { .. } => {
            let name = column(&walk.scopes, expr)?;
            spell(expr, walk)?;
            Ok(name)
        }
        Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("unnest") => {
            let item = unnested(function, walk)?;
            spell(expr, walk)?;
            // It has no name of its own, but an alias takes the type of the items.
            Ok(item.map(|item| (String::new(), Some(item), false)))
        }
        Expr::Cast { expr: inner, .. } | Expr::Nested(inner) => {
            Ok(named(inner, walk)?.map(|(name, _, is_nested)| (name, None, is_nested)))
        }
        _ => {
            spell(expr, walk)?;
            Ok(None)
        }
    }
}

/// The type of the items of the list that is unnested.
fn unnested(function: &mut Function, walk: &Walk<'_>) -> Result<Option<DataType>, Error> {
    let FunctionArguments::List(list) = &mut function.args else { return Ok(None) };
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(list))] = list.args.as_mut_slice() else { return Ok(None) };
    let found = column(&walk.scopes, list)?;
    Ok(found.and_then(|(_, data_type, _)| element(data_type)))
}

/// The relation of `p.*`, whose qualifier is put in.
fn qualified(name: &mut ObjectName, walk: &Walk<'_>) -> Vec<Relation> {
    let idents: Option<Vec<Ident>> = name.0.iter().map(|part| part.as_ident().cloned()).collect();
    let Some(idents) = idents else { return Vec::new() };
    for scope in walk.scopes.iter().rev() {
        let found = scope.relations.iter().find(|relation| {
            idents.len() <= relation.parts.len()
                && idents.iter().rev().zip(relation.parts.iter().rev()).all(|(ident, part)| means(ident, part))
        });
        if let Some(relation) = found {
            if let (Some(qualifier), Some(last)) = (&relation.qualifier, idents.last()) {
                *name = ObjectName(vec![ObjectNamePart::Identifier(exact(last, qualifier))]);
            }
            return vec![relation.clone()];
        }
    }
    Vec::new()
}

fn wildcard(
    relations: &[Relation],
    options: &mut WildcardAdditionalOptions,
    walk: &mut Walk<'_>,
) -> Result<Vec<Col>, Error> {
    let mut columns: Vec<Col> =
        relations.iter().filter_map(|relation| relation.columns.as_ref()).flatten().cloned().collect();
    let spelled = |ident: &mut Ident| {
        let found = columns
            .iter()
            .find(|col| col.name == ident.value)
            .or_else(|| columns.iter().find(|col| means(ident, &col.name)));
        if let Some(col) = found {
            *ident = exact(ident, &col.name);
        }
    };
    let mut left_out: Vec<String> = Vec::new();
    match &mut options.opt_exclude {
        Some(ExcludeSelectItem::Single(name)) => exclude(name, &spelled, &mut left_out),
        Some(ExcludeSelectItem::Multiple(names)) => {
            names.iter_mut().for_each(|name| exclude(name, &spelled, &mut left_out));
        }
        None => {}
    }
    if let Some(except) = &mut options.opt_except {
        for ident in std::iter::once(&mut except.first_element).chain(&mut except.additional_elements) {
            spelled(ident);
            left_out.push(name_of(ident));
        }
    }
    if let Some(replace) = &mut options.opt_replace {
        for element in &mut replace.items {
            spelled(&mut element.column_name);
        }
    }
    if let Some(replace) = &mut options.opt_replace {
        for element in &mut replace.items {
            spell(&mut element.expr, walk)?;
        }
    }
    columns.retain(|col| !left_out.contains(&col.name));
    Ok(columns)
}

fn exclude(name: &mut ObjectName, spelled: &dyn Fn(&mut Ident), left_out: &mut Vec<String>) {
    if let Some(ObjectNamePart::Identifier(ident)) = name.0.last_mut() {
        spelled(ident);
        left_out.push(name_of(ident));
    }
}

/// The planner calls the columns of VALUES `column1`, `column2`, ...
pub(super) fn values_columns(values: &Values) -> Vec<Col> {
    let width = values.rows.first().map_or(0, |row| row.content.len());
    (1..=width).map(|number| Col::new(format!("column{number}"), None)).collect()
}
