use std::{collections::BTreeSet, sync::Arc};

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};

use super::{Over, Select, View, ViewError, meta};
use crate::{
    ResourceType,
    definitions::{Primitive, TypeId},
    path::{
        PathError,
        check::Checker,
        expr::{Expr, Kind, kind},
    },
};

/// A view whose expressions are checked: what it reads, the columns it makes, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    resource: ResourceType,
    pub(super) root: TypeId,
    schema: SchemaRef,
    warnings: Vec<String>,
    pub(super) wheres: Vec<Place>,
    /// The view's selects, as those of one select over the resources.
    pub(super) select: PlannedSelect,
}

/// An expression, where it stands in the view and what it reads.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) place: String,
    pub(super) expr: Expr,
    /// Columns of the current table.
    reads: BTreeSet<String>,
}

#[derive(Debug, Clone)]
pub(super) struct PlannedSelect {
    pub(super) over: Over<Place>,
    pub(super) columns: Vec<PlannedColumn>,
    pub(super) selects: Vec<PlannedSelect>,
    pub(super) unions: Vec<PlannedSelect>,
}

#[derive(Debug, Clone)]
pub(super) struct PlannedColumn {
    pub(super) field: FieldRef,
    pub(super) path: Place,
    pub(super) collection: bool,
    /// Of a single value, or of an item.
    pub(super) data_type: DataType,
}

impl Plan {
    /// Compiles a view.
    ///
    /// # Errors
    /// [`ViewError::Expression`] and [`ViewError::Structure`], with their places.
    pub fn new(view: &View) -> Result<Self, ViewError> {
        let checker = Checker::new(view.resource, &view.constants);
        let root = checker.root();
        let wheres = view.wheres.iter().enumerate().map(|(index, path)| {
            let planned = compiled(&checker, path, &[root], format!("where[{index}].path"))?;
            if planned.expr.is_only(|kind| kind == Kind::Boolean) {
                return Ok(planned);
            }
            let error = PathError::Type("it is not about a boolean; `exists()` or a comparison is one".to_owned());
            Err(ViewError::Expression { place: planned.place, error })
        });
        let wheres = wheres.collect::<Result<Vec<_>, _>>()?;
        let selects = view.selects.iter().enumerate();
        let selects = selects
            .map(|(index, select)| planned(&checker, select, &[root], format!("select[{index}]")))
            .collect::<Result<Vec<_>, _>>()?;
        let select = PlannedSelect { over: Over::Parent, columns: Vec::new(), selects, unions: Vec::new() };
        let fields = select.fields();
        for (index, field) in fields.iter().enumerate() {
            // SQL finds columns whatever their case
            if fields[..index].iter().any(|other| other.name().eq_ignore_ascii_case(field.name())) {
                return Err(ViewError::structure("select", format!("two columns are called `{}`", field.name())));
            }
        }
        let schema = Arc::new(Schema::new(fields));
        Ok(Self { resource: view.resource, root, schema, warnings: checker.warnings(), wheres, select })
    }

    /// The same with only these columns, by their places in the schema, which go up. Rows stay the same.
    #[must_use]
    pub fn project(mut self, columns: &[usize]) -> Self {
        let mut at = 0;
        self.select.keep(&mut at, columns);
        self.schema = Arc::new(Schema::new(self.select.fields()));
        self
    }

    /// What it makes rows of.
    #[must_use]
    pub fn resource(&self) -> ResourceType {
        self.resource
    }

    /// The columns of the current table that it reads, by name; the table may lack some.
    #[must_use]
    pub fn reads(&self) -> BTreeSet<String> {
        let mut reads = BTreeSet::new();
        reads.extend(self.wheres.iter().flat_map(|place| place.reads.iter().cloned()));
        self.select.reads(&mut reads);
        if reads.contains("meta") {
            reads.extend(meta::COLUMNS.map(str::to_owned));
        }
        reads
    }

    /// The columns that it makes, in the order that the specification gives them.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// What is allowed and likely a mistake.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

impl PlannedSelect {
    fn fields(&self) -> Vec<FieldRef> {
        let mut fields: Vec<FieldRef> = self.columns.iter().map(|column| Arc::clone(&column.field)).collect();
        fields.extend(self.selects.iter().flat_map(Self::fields));
        if let Some(first) = self.unions.first() {
            fields.extend(first.fields());
        }
        fields
    }

    /// Drops the columns that are not among the wanted ones. `at`: the place of the next column.
    fn keep(&mut self, at: &mut usize, wanted: &[usize]) {
        self.columns.retain(|_| {
            *at += 1;
            wanted.binary_search(&(*at - 1)).is_ok()
        });
        self.selects.iter_mut().for_each(|select| select.keep(at, wanted));
        // the branches of a union have the same columns
        let first = *at;
        for branch in &mut self.unions {
            *at = first;
            branch.keep(at, wanted);
        }
    }

    fn reads(&self, reads: &mut BTreeSet<String>) {
        let over: &[Place] = match &self.over {
            Over::Parent => &[],
            Over::ForEach(place) | Over::ForEachOrNull(place) => std::slice::from_ref(place),
            Over::Repeat(places) => places,
        };
        let places = over.iter().chain(self.columns.iter().map(|column| &column.path));
        reads.extend(places.flat_map(|place| place.reads.iter().cloned()));
        self.selects.iter().chain(&self.unions).for_each(|select| select.reads(reads));
    }
}

fn compiled(checker: &Checker<'_>, path: &str, focus: &[TypeId], place: String) -> Result<Place, ViewError> {
    match checker.compile(path, focus) {
        Ok(expr) => Ok(Place { place, expr, reads: checker.take_reads() }),
        Err(error) => Err(ViewError::Expression { place, error }),
    }
}

fn planned(
    checker: &Checker<'_>,
    select: &Select,
    focus: &[TypeId],
    place: String,
) -> Result<PlannedSelect, ViewError> {
    let (over, inside) = match &select.over {
        Over::Parent => (Over::Parent, focus.to_vec()),
        Over::ForEach(path) => {
            let path = compiled(checker, path, focus, format!("{place}.forEach"))?;
            let types = path.expr.types.clone();
            (Over::ForEach(path), types)
        }
        Over::ForEachOrNull(path) => {
            let path = compiled(checker, path, focus, format!("{place}.forEachOrNull"))?;
            let types = path.expr.types.clone();
            (Over::ForEachOrNull(path), types)
        }
        Over::Repeat(paths) => repeated(checker, paths, focus, &place)?,
    };
    let inside = inside.as_slice();
    let columns = select.columns.iter().enumerate();
    let columns = columns.map(|(index, column)| {
        let place = format!("{place}.column[{index}]");
        let path = compiled(checker, &column.path, inside, format!("{place}.path"))?;
        let data_type = column_type(&path.expr, column.type_name.as_deref(), &place)?;
        let of_column = if column.collection {
            DataType::List(Arc::new(Field::new("element", data_type.clone(), true)))
        } else {
            data_type.clone()
        };
        let field = Arc::new(Field::new(&column.name, of_column, true));
        Ok::<_, ViewError>(PlannedColumn { field, path, collection: column.collection, data_type })
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let nested = |selects: &[Select], name: &str| {
        let selects = selects.iter().enumerate();
        selects
            .map(|(index, select)| planned(checker, select, inside, format!("{place}.{name}[{index}]")))
            .collect::<Result<Vec<_>, _>>()
    };
    let (selects, unions) = (nested(&select.selects, "select")?, nested(&select.unions, "unionAll")?);
    agree(&unions, &place)?;
    Ok(PlannedSelect { over, columns, selects, unions })
}

/// The types that a repeated path leads to, from the focus and from what it found itself.
fn repeated(
    checker: &Checker<'_>,
    paths: &[String],
    focus: &[TypeId],
    place: &str,
) -> Result<(Over<Place>, Vec<TypeId>), ViewError> {
    let mut from = focus.to_vec();
    let mut found: Vec<TypeId> = Vec::new();
    loop {
        let places = paths.iter().enumerate();
        let places = places.map(|(index, path)| compiled(checker, path, &from, format!("{place}.repeat[{index}]")));
        let places = places.collect::<Result<Vec<_>, _>>()?;
        let mut grew = false;
        for type_id in places.iter().flat_map(|place| &place.expr.types) {
            if !found.contains(type_id) {
                found.push(*type_id);
                grew = true;
            }
            if !from.contains(type_id) {
                from.push(*type_id);
                grew = true;
            }
        }
        if !grew {
            return Ok((Over::Repeat(places), found));
        }
    }
}

/// The branches of a union have the same columns.
fn agree(unions: &[PlannedSelect], place: &str) -> Result<(), ViewError> {
    let all: Vec<Vec<FieldRef>> = unions.iter().map(PlannedSelect::fields).collect();
    let Some(first) = all.first() else { return Ok(()) };
    for (index, fields) in all.iter().enumerate() {
        let names = |fields: &[FieldRef]| fields.iter().map(|field| field.name().clone()).collect::<Vec<_>>();
        if names(fields) != names(first) {
            let reason = format!(
                "its columns ({}) are not those of the first branch ({})",
                names(fields).join(", "),
                names(first).join(", ")
            );
            return Err(ViewError::structure(format!("{place}.unionAll[{index}]"), reason));
        }
        if let Some((field, other)) =
            fields.iter().zip(first).find(|(field, other)| field.data_type() != other.data_type())
        {
            let reason = format!(
                "column `{}` is {} here and {} in the first branch: declare the same `type` for both",
                field.name(),
                field.data_type(),
                other.data_type()
            );
            return Err(ViewError::structure(format!("{place}.unionAll[{index}]"), reason));
        }
    }
    Ok(())
}

/// The Arrow type of a column: what is declared, where its values fit, else what the expression gives.
fn column_type(expr: &Expr, declared: Option<&str>, place: &str) -> Result<DataType, ViewError> {
    if let Some(structure) = expr.types.iter().find(|type_id| kind(**type_id) == Kind::Complex) {
        let reason =
            format!("it selects `{structure}`, a structure; a column holds a primitive: select one of its elements");
        return Err(ViewError::structure(format!("{place}.path"), reason));
    }
    let given: Vec<DataType> = expr.types.iter().filter_map(|type_id| type_id.primitive()).map(data_type).collect();
    let Some(declared) = declared else {
        return Ok(match given.as_slice() {
            [] => DataType::Utf8,
            [first, rest @ ..] if rest.iter().all(|other| other == first) => first.clone(),
            all if all.iter().all(|one| matches!(one, DataType::Int32 | DataType::Float64)) => DataType::Float64,
            _ => DataType::Utf8,
        });
    };
    let wanted = declared_type(declared).ok_or_else(|| {
        ViewError::structure(format!("{place}.type"), format!("`{declared}` is not a primitive type of FHIR"))
    })?;
    let fits = |given: &DataType| match (given, &wanted) {
        (given, wanted) if given == wanted => true,
        (_, DataType::Utf8) | (DataType::Int32, DataType::Int64 | DataType::Float64) => true,
        _ => false,
    };
    if given.is_empty() || given.iter().all(fits) {
        return Ok(wanted);
    }
    let types = expr.types.iter().map(|type_id| type_id.name()).collect::<Vec<_>>().join(", ");
    Err(ViewError::structure(format!("{place}.type"), format!("`{declared}` is declared, and its path gives {types}")))
}

fn declared_type(name: &str) -> Option<DataType> {
    let name = name
        .strip_prefix("http://hl7.org/fhir/StructureDefinition/")
        .or_else(|| name.strip_prefix("http://hl7.org/fhirpath/System."))
        .or_else(|| name.strip_prefix("System."))
        .or_else(|| name.strip_prefix("FHIR."))
        .unwrap_or(name);
    if name == "integer64" {
        return Some(DataType::Int64);
    }
    let mut letters = name.chars();
    let name: String = letters.next().into_iter().flat_map(char::to_lowercase).chain(letters).collect();
    TypeId::from_name(&name)?.primitive().map(data_type)
}

fn data_type(primitive: Primitive) -> DataType {
    match primitive {
        Primitive::Boolean => DataType::Boolean,
        Primitive::Decimal => DataType::Float64,
        primitive if primitive.is_integer() => DataType::Int32,
        _ => DataType::Utf8,
    }
}
