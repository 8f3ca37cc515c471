use std::{borrow::Cow, sync::Arc};

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};

use super::{
    EvalError, call, compare,
    compute::{arithmetic, concatenate, integers_to_items, negative, truths_to_items},
    items::{Items, Part, place},
    logic::{logic, truths},
    member::member,
    read::{Read, first_of_each},
};
use crate::{
    definitions::{Primitive, TypeId},
    path::{
        expr::{Expr, Function, Kind, Node, primitive},
        syntax::{Literal, Operator},
    },
};

/// The foci that an expression is evaluated for.
#[derive(Debug)]
pub(crate) struct Scope<'a> {
    /// The value of each focus; a focus that owns none is nothing.
    pub(crate) foci: Items,
    pub(crate) count: usize,
    pub(crate) around: Around<'a>,
}

/// Where the foci are.
#[derive(Debug)]
pub(crate) enum Around<'a> {
    /// Rows of a select.
    Rows {
        /// Place of each row among those of its iteration.
        row_index: Option<&'a [u32]>,
        /// The resources, and which of them each row is of.
        resources: &'a Part,
        resource: &'a [u32],
    },
    /// Values that `where` and its like walk over: the foci outside, which of them each is of, its place there.
    Values { outer: &'a Scope<'a>, owners: &'a [u32], index: Vec<u32> },
}

impl Scope<'_> {
    /// Follows each focus out to the row that it is of.
    fn rows(&self) -> (&Scope<'_>, Option<Vec<u32>>) {
        let mut map: Option<Vec<u32>> = None;
        let mut scope = self;
        while let Around::Values { outer, owners, .. } = &scope.around {
            map = Some(match map {
                None => owners.to_vec(),
                Some(map) => map.iter().map(|at| owners[*at as usize]).collect(),
            });
            scope = outer;
        }
        (scope, map)
    }
}

/// Evaluates an expression for every focus.
///
/// # Errors
/// [`EvalError`].
pub(crate) fn evaluate(expr: &Expr, scope: &Scope<'_>) -> Result<Items, EvalError> {
    eval(expr, scope).map(Cow::into_owned)
}

fn eval<'s>(expr: &Expr, scope: &'s Scope<'_>) -> Result<Cow<'s, Items>, EvalError> {
    let count = scope.count;
    let items = match &expr.node {
        Node::Empty => Items::default(),
        Node::Literal(literal) => Items::same(constant(literal), count),
        Node::This => return Ok(Cow::Borrowed(&scope.foci)),
        Node::Resource => resource(scope),
        Node::Context => match scope.rows() {
            (outer, None) => outer.foci.clone(),
            (outer, Some(map)) => through(&outer.foci, outer.count, &map),
        },
        Node::Index => match &scope.around {
            Around::Values { index, .. } => numbers(index.iter().copied()),
            Around::Rows { .. } => numbers(std::iter::repeat_n(0, count)),
        },
        Node::RowIndex => row_index(scope),
        Node::Member(..) => members(expr, scope)?,
        Node::Item(base, index) => call::item(&*eval(base, scope)?, &*eval(index, scope)?, count)?,
        Node::OfType(..)
        | Node::Is(..)
        | Node::Where(..)
        | Node::Select(..)
        | Node::All(..)
        | Node::If(..)
        | Node::Negative(..)
        | Node::Combine(..) => collection(expr, scope)?,
        Node::Binary(..) => operators(expr, scope)?,
        Node::Call(Function::ResourceKey, base, _) => {
            let mut keys = member(&*eval(base, scope)?, "id")?;
            keys.parts.iter_mut().for_each(|part| part.type_id = primitive(Primitive::String));
            keys
        }
        Node::Call(function, base, arguments) => called(*function, base, arguments, expr, scope)?,
    };
    Ok(Cow::Owned(items))
}

/// Apart from [`eval`], which calls itself as deep as an expression is nested and is to need little stack.
#[inline(never)]
fn collection(expr: &Expr, scope: &Scope<'_>) -> Result<Items, EvalError> {
    let count = scope.count;
    Ok(match &expr.node {
        Node::OfType(base, types) => {
            let base = eval(base, scope)?;
            base.of_parts(&of_types(&base, types))
        }
        Node::Is(base, types) => {
            let base = eval(base, scope)?;
            let wanted = of_types(&base, types);
            let read = base.offsets(count);
            let is = |pair: &[u32]| match pair[1] - pair[0] {
                0 => Ok(None),
                1 => Ok(Some(wanted[base.part_of(pair[0] as usize)])),
                _ => Err(EvalError::Many("`is`")),
            };
            truths_to_items(read.windows(2).map(is).collect::<Result<_, _>>()?)
        }
        Node::Where(base, criteria) => {
            let base = eval(base, scope)?;
            let answers = truths(&walk(&base, criteria, scope)?, base.len(), "`where()`")?;
            base.keep(&call::places(&answers))
        }
        Node::Select(base, projection) => {
            let base = eval(base, scope)?;
            let mut found = walk(&base, projection, scope)?;
            for owner in &mut found.owners {
                *owner = base.owners[*owner as usize];
            }
            found
        }
        Node::All(base, criteria) => {
            let base = eval(base, scope)?;
            let answers = truths(&walk(&base, criteria, scope)?, base.len(), "`all()`")?;
            let offsets = base.offsets(count);
            let all = |pair: &[u32]| Some(answers[pair[0] as usize..pair[1] as usize].iter().all(|a| *a == Some(true)));
            truths_to_items(offsets.windows(2).map(all).collect())
        }
        Node::If(condition, then, otherwise) => {
            let answers = truths(&*eval(condition, scope)?, count, "`iif()`")?;
            let chosen = |items: &Items, wanted: bool| {
                let is = |item: &u32| (answers[items.owners[*item as usize] as usize] == Some(true)) == wanted;
                items.keep(&(0..place(items.len())).filter(is).collect::<Vec<_>>())
            };
            let then = chosen(&*eval(then, scope)?, true);
            match otherwise {
                None => then,
                Some(otherwise) => then.and(&chosen(&*eval(otherwise, scope)?, false), count),
            }
        }
        Node::Negative(operand) => {
            let integers = operand.is_only(|kind| kind == Kind::Integer);
            negative(&*eval(operand, scope)?, count, integers)?
        }
        Node::Combine(one, other) => eval(one, scope)?.and(&*eval(other, scope)?, count),
        _ => Items::default(),
    })
}

#[inline(never)]
fn called(
    function: Function,
    base: &Expr,
    arguments: &[Expr],
    expr: &Expr,
    scope: &Scope<'_>,
) -> Result<Items, EvalError> {
    let base = eval(base, scope)?;
    let arguments = arguments.iter().map(|argument| evaluate(argument, scope)).collect::<Result<Vec<_>, _>>()?;
    let integers = expr.is_only(|kind| kind == Kind::Integer);
    call::call(function, &base, &arguments, scope.count, integers)
}

/// A path of members, however long, without calling itself.
#[inline(never)]
fn members(expr: &Expr, scope: &Scope<'_>) -> Result<Items, EvalError> {
    let mut names = Vec::new();
    let mut base = expr;
    while let Node::Member(inner, name) = &base.node {
        names.push(name);
        base = inner;
    }
    let mut items = eval(base, scope)?;
    while let Some(name) = names.pop() {
        items = Cow::Owned(member(&items, name)?);
    }
    Ok(items.into_owned())
}

/// A row of operators, however long: only their right sides are nested.
#[inline(never)]
fn operators(expr: &Expr, scope: &Scope<'_>) -> Result<Items, EvalError> {
    let mut row = Vec::new();
    let mut first = expr;
    while let Node::Binary(operator, left, right) = &first.node {
        row.push((*operator, right, &first.types));
        first = left;
    }
    let mut items = eval(first, scope)?;
    while let Some((operator, right, types)) = row.pop() {
        items = Cow::Owned(binary(operator, &items, &*eval(right, scope)?, scope.count, types)?);
    }
    Ok(items.into_owned())
}

fn of_types(items: &Items, types: &[TypeId]) -> Vec<bool> {
    items.parts.iter().map(|part| types.contains(&part.type_id)).collect()
}

/// Evaluates an expression with each value as a focus of its own.
fn walk(base: &Items, expr: &Expr, scope: &Scope<'_>) -> Result<Items, EvalError> {
    let mut index = Vec::with_capacity(base.len());
    for (at, owner) in base.owners.iter().enumerate() {
        let is_first = at == 0 || base.owners[at - 1] != *owner;
        index.push(if is_first { 0 } else { index[at - 1] + 1 });
    }
    let inner = Scope {
        foci: base.as_foci(),
        count: base.len(),
        around: Around::Values { outer: scope, owners: &base.owners, index },
    };
    evaluate(expr, &inner)
}

fn binary(operator: Operator, left: &Items, right: &Items, count: usize, types: &[TypeId]) -> Result<Items, EvalError> {
    let is = |wanted: Primitive| types.contains(&primitive(wanted));
    Ok(match operator {
        Operator::Plus if is(Primitive::String) => concatenate(left, right, count, false)?,
        Operator::Concatenate => concatenate(left, right, count, true)?,
        Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide | Operator::Div | Operator::Mod => {
            arithmetic(operator, left, right, count, is(Primitive::Integer))?
        }
        Operator::Union => {
            let all = left.and(right, count);
            let kept = first_of_each(&Read::new(&all, count)?, count);
            all.keep(&kept)
        }
        Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
            truths_to_items(compare::order(operator, left, right, count)?)
        }
        Operator::Equal | Operator::NotEqual | Operator::Equivalent | Operator::NotEquivalent => {
            truths_to_items(compare::equality(operator, left, right, count)?)
        }
        Operator::In => truths_to_items(compare::within(left, right, count)?),
        Operator::Contains => truths_to_items(compare::within(right, left, count)?),
        Operator::And | Operator::Or | Operator::Xor | Operator::Implies => {
            let truths = |items| {
                truths(items, count, "").map_err(|error| match error {
                    EvalError::Many(_) => EvalError::Operands(operator.sign()),
                    other => other,
                })
            };
            let (one, other) = (truths(left)?, truths(right)?);
            truths_to_items(one.into_iter().zip(other).map(|(one, other)| logic(operator, one, other)).collect())
        }
    })
}

fn numbers(numbers: impl Iterator<Item = u32>) -> Items {
    integers_to_items(numbers.map(|number| Some(i64::from(number))).collect())
}

/// For each focus the values that another focus has. Each of the latter has one at most.
fn through(foci: &Items, count: usize, map: &[u32]) -> Items {
    let offsets = foci.offsets(count);
    let mut found = Items { parts: foci.parts.clone(), ..Items::default() };
    let mut part = Vec::new();
    for (focus, at) in map.iter().enumerate() {
        for item in offsets[*at as usize]..offsets[*at as usize + 1] {
            found.owners.push(place(focus));
            found.index.push(foci.index[item as usize]);
            part.push(foci.part.as_ref().map_or(0, |part| part[item as usize]));
        }
    }
    found.part = foci.part.is_some().then_some(part);
    found
}

fn resource(scope: &Scope<'_>) -> Items {
    let (rows, map) = scope.rows();
    let Around::Rows { resources, resource, .. } = &rows.around else { return Items::default() };
    let index = match map {
        None => resource.to_vec(),
        Some(map) => map.iter().map(|row| resource[*row as usize]).collect(),
    };
    Items { parts: vec![(*resources).clone()], owners: (0..place(scope.count)).collect(), part: None, index }
}

fn row_index(scope: &Scope<'_>) -> Items {
    let (rows, map) = scope.rows();
    let Around::Rows { row_index, .. } = &rows.around else { return Items::default() };
    let of = |row: usize| row_index.map_or(0, |index| index[row]);
    match map {
        None => numbers((0..scope.count).map(of)),
        Some(map) => numbers(map.iter().map(|row| of(*row as usize))),
    }
}

fn constant(literal: &Literal) -> Part {
    let text = |text: &str| Arc::new(StringArray::from(vec![text.to_owned()])) as ArrayRef;
    let mut written = None;
    let (of, values): (Primitive, ArrayRef) = match literal {
        Literal::Boolean(value) => (Primitive::Boolean, Arc::new(BooleanArray::from(vec![*value]))),
        Literal::Integer(number) => (Primitive::Integer, Arc::new(Int64Array::from(vec![*number]))),
        Literal::Decimal(number) => {
            written = Some(text(number));
            (Primitive::Decimal, Arc::new(Float64Array::from(vec![number.parse::<f64>().ok()])))
        }
        Literal::Text(value) => (Primitive::String, text(value)),
        Literal::Date(value) => (Primitive::Date, text(value)),
        Literal::DateTime(value) => (Primitive::DateTime, text(value)),
        Literal::Time(value) => (Primitive::Time, text(value)),
    };
    Part { type_id: primitive(of), values, text: written }
}
