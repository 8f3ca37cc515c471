//! The tree of builders that mirrors the definitions: a node is made when its element is first populated, and one walk
//! over a resource's value fills it.

use std::{borrow::Cow, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, ListArray, StructArray},
    buffer::{OffsetBuffer, ScalarBuffer},
    datatypes::{DataType, Field, Fields},
    error::ArrowError,
};

use super::{
    MAX_DEPTH,
    column::{Bools, Numbers, Texts, Validity},
    schema::{LIST_ITEM, companion},
};
use crate::{
    bundle::relative_reference,
    definitions::{self, Element, Primitive, TypeId, TypeKind},
    json::Value,
    temporal,
};

/// A column and its field.
pub(super) type Column = (Field, ArrayRef);

/// The columns of a type's elements.
#[derive(Debug)]
pub(super) struct Elements {
    type_id: TypeId,
    depth: usize,
    /// By the elements' places in the definitions; `None`: not populated so far.
    nodes: Vec<Option<Box<Node>>>,
    /// `__type` and `__id` of a Reference.
    split: Option<Box<(Texts, Texts)>>,
}

impl Elements {
    /// `depth`: names on the way to the elements, their own included.
    pub(super) fn new(type_id: TypeId, depth: usize) -> Self {
        let nodes = std::iter::repeat_with(|| None).take(definitions::elements(type_id).len()).collect();
        let split = type_id.is_reference().then(|| Box::new((Texts::new(), Texts::new())));
        Self { type_id, depth, nodes, split }
    }

    /// Makes the nodes of these columns, populated or not.
    pub(super) fn expect(&mut self, fields: &Fields) {
        for field in fields {
            let Some(index) = definitions::element_index(self.type_id, field.name()) else { continue };
            if let Some(node) = self.node(index) {
                node.expect(field.data_type());
            }
        }
    }

    /// The node of an element; `None` where it gets no column.
    fn node(&mut self, index: usize) -> Option<&mut Node> {
        let slot = self.nodes.get_mut(index)?;
        if slot.is_none() {
            let element = &definitions::elements(self.type_id)[index];
            *slot = Some(Box::new(Node::new(element, self.depth)?));
        }
        slot.as_deref_mut()
    }

    /// Takes the members of an object into a slot. Answers how many values did not fit.
    pub(super) fn put(&mut self, slot: usize, members: &[(Cow<'_, str>, Value<'_>)]) -> usize {
        let mut misfits = 0;
        for (name, value) in members {
            let Some(index) = definitions::element_index(self.type_id, name) else { continue };
            if let Some(node) = self.node(index) {
                misfits += node.put(slot, value);
            } else if self.depth > MAX_DEPTH && is_column(&definitions::elements(self.type_id)[index]) {
                misfits += 1;
            }
            if let (Some(split), "reference", Value::String(reference)) = (&mut self.split, name.as_ref(), value)
                && let Some((type_name, id)) = relative_reference(reference)
            {
                split.0.set(slot, type_name);
                split.1.set(slot, id);
            }
        }
        misfits
    }

    /// The columns, in the order of the definitions; none where nothing below them holds a value.
    pub(super) fn finish(self, len: usize) -> Result<Vec<Column>, ArrowError> {
        let mut columns = Vec::new();
        let mut split = self.split;
        for (element, node) in definitions::elements(self.type_id).iter().zip(self.nodes) {
            let Some(node) = node else { continue };
            node.finish(element.name, len, &mut columns)?;
            if element.name == "reference"
                && let Some(split) = split.take()
            {
                columns.push((Field::new("__type", DataType::Utf8, true), split.0.strings(len)?));
                columns.push((Field::new("__id", DataType::Utf8, true), split.1.strings(len)?));
            }
        }
        Ok(columns)
    }
}

/// Whether an element becomes a column at all (see the module above).
fn is_column(element: &Element) -> bool {
    match element.type_id.kind() {
        TypeKind::AnyResource | TypeKind::Resource(_) => false,
        TypeKind::Primitive(primitive) => primitive != Primitive::Xhtml,
        TypeKind::Complex => element.type_id.name() != "Narrative",
        TypeKind::Backbone => true,
    }
}

/// An element's builder: single, or a list of slots of its own.
#[derive(Debug)]
enum Node {
    One(Data),
    Many {
        /// Where each list ends among the items.
        ends: Vec<i32>,
        validity: Validity,
        /// Items so far.
        items: usize,
        data: Data,
    },
}

#[derive(Debug)]
enum Data {
    Text(Texts),
    Bool(Bools),
    Integer(Numbers<i32>),
    Decimal { number: Numbers<f64>, text: Texts },
    Temporal { text: Texts, start: Numbers<i64>, end: Numbers<i64> },
    Struct { validity: Validity, elements: Elements },
}

impl Node {
    fn new(element: &Element, depth: usize) -> Option<Self> {
        // The root's own `id` stands among the flat columns; `resource` (of CompartmentDefinition) would be the name of two.
        let is_taken = depth == 1 && matches!(element.name, "id" | "resource");
        if depth > MAX_DEPTH || is_taken || !is_column(element) {
            return None;
        }
        let data = Data::new(element.type_id, depth);
        Some(if element.many {
            Self::Many { ends: vec![0], validity: Validity::new(), items: 0, data }
        } else {
            Self::One(data)
        })
    }

    fn expect(&mut self, data_type: &DataType) {
        let (data, data_type) = match (self, data_type) {
            (Self::Many { data, .. }, DataType::List(item) | DataType::LargeList(item) | DataType::ListView(item)) => {
                (data, item.data_type())
            }
            (Self::One(data), data_type) => (data, data_type),
            _ => return,
        };
        if let (Data::Struct { elements, .. }, DataType::Struct(fields)) = (data, data_type) {
            elements.expect(fields);
        }
    }

    fn put(&mut self, slot: usize, value: &Value<'_>) -> usize {
        match (self, value) {
            (_, Value::Null) => 0,
            (Self::One(data), value) => data.put(slot, value),
            (Self::Many { ends, validity, items, data }, Value::Array(values)) => {
                let Ok(end) = i32::try_from(*items + values.len()) else { return 1 };
                if !validity.reach(slot) {
                    return 1;
                }
                reach(ends, slot);
                let misfits = values.iter().zip(*items..).map(|(value, item)| match value {
                    // A repeating primitive without a value, where `_name` has an extension in its place.
                    Value::Null => 0,
                    value => data.put(item, value),
                });
                let misfits = misfits.sum();
                *items += values.len();
                ends.push(end);
                validity.set();
                misfits
            }
            (Self::Many { .. }, _) => 1,
        }
    }

    fn finish(self, name: &str, len: usize, into: &mut Vec<Column>) -> Result<(), ArrowError> {
        match self {
            Self::One(data) => data.finish(name, len, into),
            Self::Many { mut ends, validity, items, data } => {
                reach(&mut ends, len);
                let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
                let nulls = validity.finish(len);
                let mut columns = Vec::new();
                data.finish(name, items, &mut columns)?;
                for (field, values) in columns {
                    let item = Arc::new(Field::new(LIST_ITEM, field.data_type().clone(), true));
                    let list = ListArray::try_new(item, offsets.clone(), values, nulls.clone())?;
                    let field = Field::new(field.name(), list.data_type().clone(), true);
                    into.push((field, Arc::new(list)));
                }
                Ok(())
            }
        }
    }
}

fn reach(ends: &mut Vec<i32>, slot: usize) {
    if ends.len() <= slot {
        let last = ends.last().copied().unwrap_or(0);
        ends.resize(slot + 1, last);
    }
}

impl Data {
    fn new(type_id: TypeId, depth: usize) -> Self {
        match type_id.primitive() {
            None => Self::Struct { validity: Validity::new(), elements: Elements::new(type_id, depth + 1) },
            Some(Primitive::Boolean) => Self::Bool(Bools::new()),
            Some(Primitive::Decimal) => Self::Decimal { number: Numbers::new(), text: Texts::new() },
            Some(primitive) if primitive.is_integer() => Self::Integer(Numbers::new()),
            Some(primitive) if primitive.is_temporal() => {
                Self::Temporal { text: Texts::new(), start: Numbers::new(), end: Numbers::new() }
            }
            Some(_) => Self::Text(Texts::new()),
        }
    }

    /// Answers how many values did not fit: those stay null.
    #[inline]
    fn put(&mut self, slot: usize, value: &Value<'_>) -> usize {
        let fits = match (self, value) {
            (Self::Text(texts), Value::String(text)) => texts.set(slot, text),
            (Self::Bool(bools), Value::Bool(value)) => bools.set(slot, *value),
            (Self::Integer(numbers), Value::Number(text)) => text.parse().is_ok_and(|number| numbers.set(slot, number)),
            (Self::Decimal { number, text }, Value::Number(written)) => {
                let fits = text.set(slot, written);
                // A number too large for a float stays text alone.
                let finite = written.parse().ok().filter(|number: &f64| number.is_finite());
                fits && finite.is_some_and(|value| number.set(slot, value))
            }
            (Self::Temporal { text, start, end }, Value::String(written)) => {
                let fits = text.set(slot, written);
                let period = temporal::parse(written);
                fits && period.is_some_and(|period| start.set(slot, period.start) && end.set(slot, period.end))
            }
            (Self::Struct { validity, elements }, Value::Object(members)) => {
                if !validity.reach(slot) {
                    return 1;
                }
                validity.set();
                return elements.put(slot, members);
            }
            _ => false,
        };
        usize::from(!fits)
    }

    fn finish(self, name: &str, len: usize, into: &mut Vec<Column>) -> Result<(), ArrowError> {
        let mut push = |name: String, array: ArrayRef| {
            into.push((Field::new(name, array.data_type().clone(), true), array));
        };
        match self {
            Self::Text(texts) => push(name.to_owned(), texts.strings(len)?),
            Self::Bool(bools) => push(name.to_owned(), bools.array(len)),
            Self::Integer(numbers) => push(name.to_owned(), numbers.int32(len)),
            Self::Decimal { number, text } => {
                push(name.to_owned(), number.float64(len));
                push(companion(name, "text"), text.strings(len)?);
            }
            Self::Temporal { text, start, end } => {
                push(name.to_owned(), text.strings(len)?);
                push(companion(name, "start"), start.timestamps(len));
                push(companion(name, "end"), end.timestamps(len));
            }
            Self::Struct { validity, elements } => {
                let columns = elements.finish(len)?;
                // A struct without fields is nothing that a file can hold.
                if !columns.is_empty() {
                    let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
                    let array = StructArray::try_new(Fields::from(fields), arrays, validity.finish(len))?;
                    push(name.to_owned(), Arc::new(array));
                }
            }
        }
        Ok(())
    }
}
