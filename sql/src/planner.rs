//! From a resolved statement to a checked logical plan, and the types of its parameters and its answer.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::{
    catalog::TableFunctionArgs,
    common::{DFSchema, ParamValues, Result, TableReference, plan_datafusion_err, tree_node::TreeNode},
    config::ConfigOptions,
    datasource::{cte_worktable::CteWorkTable, provider_as_source},
    execution::SessionState,
    logical_expr::{
        AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF,
        planner::{ContextProvider, ExprPlanner, RelationPlanner, TypePlanner},
        simplify::SimplifyContext,
    },
    optimizer::simplify_expressions::ExprSimplifier,
    scalar::ScalarValue,
    sql::{
        planner::{ParserOptions, PlannerContext, SqlToRel},
        sqlparser::ast::{ColumnDef, Statement},
    },
};

use crate::{
    Error,
    dialect::{Quoted, Types},
    fault, functions, inferred,
    lateral::LateralViews,
    micros::in_micros,
    names::{APART, told},
    subqueries::as_values,
};

/// The tables of one statement, by `[catalog, schema, table]` in the plan.
pub(crate) type Sources = HashMap<[String; 3], Arc<dyn TableSource>>;

/// Plans a statement whose names are resolved.
///
/// # Errors
/// [`Error::Invalid`] with line and column where they are known.
pub(crate) fn plan(state: &SessionState, sources: &Sources, statement: Statement) -> Result<LogicalPlan, Error> {
    plan_typed(state, sources, statement, &[])
}

/// As [`plan`], with parameters of these types; where there is none, what stands around a parameter tells.
///
/// # Errors
/// As [`plan`].
pub(crate) fn plan_typed(
    state: &SessionState,
    sources: &Sources,
    statement: Statement,
    types: &[Option<DataType>],
) -> Result<LogicalPlan, Error> {
    let plan = plan_only(state, sources, statement, types)?;
    as_values(plan).map_err(|error| fault::planning(&error))
}

/// As [`plan`], for a condition of a row filter, whose subqueries are answered before.
///
/// # Errors
/// As [`plan`].
pub(crate) fn plan_condition(
    state: &SessionState,
    sources: &Sources,
    statement: Statement,
) -> Result<LogicalPlan, Error> {
    plan_only(state, sources, statement, &[])
}

fn plan_only(
    state: &SessionState,
    sources: &Sources,
    statement: Statement,
    types: &[Option<DataType>],
) -> Result<LogicalPlan, Error> {
    let provider = Provider { state, sources, relations: [Arc::new(LateralViews)] };
    let options = ParserOptions::from(&state.config_options().sql_parser);
    let fields = (1..).zip(types).map(|(number, data_type)| {
        let data_type = data_type.clone()?;
        Some(Arc::new(Field::new(format!("${number}"), data_type, true)))
    });
    let mut context = PlannerContext::new().with_prepare_param_data_types(fields.collect());
    let quoted = Quoted::of(&statement);
    SqlToRel::new_with_options(&provider, options)
        .sql_statement_to_plan_with_context(statement, &mut context)
        .map_err(|error| quoted.explained(fault::planning(&error)))
}

/// The columns that a statement lists, as Arrow has them.
///
/// # Errors
/// [`Error::Invalid`] for a type that is not known.
pub(crate) fn columns(state: &SessionState, columns: Vec<ColumnDef>) -> std::result::Result<Schema, Error> {
    let sources = Sources::default();
    let provider = Provider { state, sources: &sources, relations: [Arc::new(LateralViews)] };
    let options = ParserOptions::from(&state.config_options().sql_parser);
    SqlToRel::new_with_options(&provider, options).build_schema(columns).map_err(|error| fault::planning(&error))
}

struct Provider<'a> {
    state: &'a SessionState,
    sources: &'a Sources,
    relations: [Arc<dyn RelationPlanner>; 1],
}

impl ContextProvider for Provider<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        let key = match &name {
            TableReference::Full { catalog, schema, table } => {
                [catalog.to_string(), schema.to_string(), table.to_string()]
            }
            _ => return Err(plan_datafusion_err!("there is no table `{name}`")),
        };
        self.sources.get(&key).cloned().ok_or_else(|| plan_datafusion_err!("there is no table `{name}`"))
    }

    fn get_table_function_source(&self, name: &str, args: Vec<Expr>) -> Result<Arc<dyn TableSource>> {
        let function = functions::table_function(self.state, name)
            .ok_or_else(|| plan_datafusion_err!("there is no table function `{name}`"))?;
        let context = SimplifyContext::builder().with_config_options(Arc::clone(self.state.config_options())).build();
        let simplifier = ExprSimplifier::new(context);
        let schema = DFSchema::empty();
        let args = args.into_iter().map(|arg| simplifier.coerce(arg, &schema).and_then(|arg| simplifier.simplify(arg)));
        let args = args.collect::<Result<Vec<_>>>()?;
        let provider = function.create_table_provider_with_args(TableFunctionArgs::new(&args, self.state))?;
        Ok(provider_as_source(provider))
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> Result<Arc<dyn TableSource>> {
        // What it begins with becomes that, too.
        let fields = schema.fields().iter().map(|field| {
            in_micros(field.data_type())
                .map_or_else(|| field.as_ref().clone(), |to| field.as_ref().clone().with_data_type(to))
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<Field>>()));
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.state.expr_planners()
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &self.relations
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(Types))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.state.scalar_functions().get(name).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.state.higher_order_functions().get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.state.aggregate_functions().get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.state.window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.state.scalar_functions().keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.state.higher_order_functions().keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.state.aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.state.window_functions().keys().cloned().collect()
    }
}

/// The types of a plan's parameters in order, `$1` first; `None` where it cannot be told. That of LIMIT and OFFSET is Int64.
///
/// # Errors
/// [`Error::Invalid`] when a parameter has two types, or one is left out.
pub(crate) fn parameters(plan: &LogicalPlan) -> Result<Vec<Option<DataType>>, Error> {
    let fields = plan.get_parameter_fields().map_err(|error| fault::planning(&error))?;
    if fields.is_empty() {
        return Ok(Vec::new());
    }
    let typed = inferred::types(plan).map_err(|error| fault::planning(&error))?;
    let in_limits = limit_parameters(plan).map_err(|error| fault::planning(&error))?;
    let mut types: Vec<Option<DataType>> = vec![None; fields.len()];
    for (name, field) in fields {
        let position = name.trim_start_matches('$').parse::<usize>().ok().and_then(|n| n.checked_sub(1));
        let known = field.map(|field| field.data_type().clone()).filter(|data_type| *data_type != DataType::Null);
        // One that stands in several places is typed by those that say something.
        let known = known.or_else(|| typed.get(&name).cloned());
        let known = known.or_else(|| in_limits.contains(&name).then_some(DataType::Int64));
        let Some(position) = position.filter(|position| *position < usize::from(u16::MAX)) else {
            return Err(fault::invalid(format!("parameter `{name}` is not one of `$1`, `$2`, ...")));
        };
        if types.len() <= position {
            types.resize(position + 1, None);
        }
        types[position] = known.map(|known| in_micros(&known).unwrap_or(known));
    }
    Ok(types)
}

fn limit_parameters(plan: &LogicalPlan) -> Result<Vec<String>> {
    use datafusion::{common::tree_node::TreeNodeRecursion, logical_expr::expr::Placeholder};
    let mut names = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Limit(limit) = node {
            for expr in limit.skip.iter().chain(limit.fetch.iter()) {
                expr.apply(|expr| {
                    if let Expr::Placeholder(Placeholder { id, .. }) = expr {
                        names.push(id.clone());
                    }
                    Ok(TreeNodeRecursion::Continue)
                })?;
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(names)
}

/// Puts values in the place of parameters, cast to the types that the plan expects of them. A parameter that may be of any type
/// (`open`: its place) takes its value as it came.
///
/// # Errors
/// [`Error::Invalid`] when there are too few or too many, or one cannot be cast; the value is not repeated.
pub(crate) fn bind(
    plan: LogicalPlan,
    types: &[DataType],
    open: &[usize],
    values: &[ScalarValue],
) -> Result<LogicalPlan, Error> {
    if types.len() != values.len() {
        return Err(miscounted(types.len(), values.len()));
    }
    if types.is_empty() {
        return Ok(plan);
    }
    let mut bound = Vec::with_capacity(values.len());
    for (place, (data_type, value)) in types.iter().zip(values).enumerate() {
        let number = place + 1;
        let is_open = *data_type == DataType::Utf8 && open.contains(&place);
        let cast = if is_open && !value.is_null() { Ok(value.clone()) } else { value.cast_to(data_type) };
        // What is no text, such as some bytes, becomes null as one.
        let cast = cast.ok().filter(|cast| !cast.is_null() || value.is_null());
        let cast =
            cast.ok_or_else(|| fault::invalid(format!("the value of parameter ${number} is not a {data_type}")))?;
        if loses(value, &cast) {
            let given = value.data_type();
            return Err(fault::invalid(format!(
                "the value of parameter ${number} is a {given} that would become another one as {data_type}, which the \
                 statement expects there: write `CAST(${number} AS ...)` with a type that holds it"
            )));
        }
        bound.push(cast);
    }
    plan.with_param_values(ParamValues::from(bound)).map_err(|error| fault::planning(&error))
}

/// What is said where a statement was given too few values, or too many.
pub(crate) fn miscounted(parameters: usize, values: usize) -> Error {
    fault::invalid(format!("the statement has {parameters} parameters, {values} values were given"))
}

/// Whether a value became another one: 1.5 as a whole number, noon as a day, 2 as a truth. (What is kept as a float is
/// taken as it comes.)
fn loses(value: &ScalarValue, cast: &ScalarValue) -> bool {
    let (from, to) = (value.data_type(), cast.data_type());
    let is_exact = |data_type: &DataType| {
        let is_other = matches!(data_type, DataType::Decimal128(..) | DataType::Boolean);
        is_other || data_type.is_integer() || data_type.is_temporal()
    };
    if value.is_null() || from == to || from.is_string() || !is_exact(&to) {
        return false;
    }
    // Columns keep microseconds; and nought has two signs.
    let is_time = |data_type: &DataType| matches!(data_type, DataType::Timestamp(..));
    if is_time(&from) && is_time(&to)
        || matches!(value, ScalarValue::Float64(Some(0.0)) | ScalarValue::Float32(Some(0.0)))
    {
        return cast.is_null();
    }
    cast.is_null() || cast.cast_to(&from).is_ok_and(|back| back != *value)
}

/// The columns of a plan's answer as every door tells them: told before running, and what the batches then have. Two of them
/// may have one name. Views and dictionaries come as the plain types that every client reads; metadata of files is left out.
///
/// # Errors
/// [`Error::Invalid`] when types do not fit together.
pub(crate) fn answer(state: &SessionState, plan: &LogicalPlan, types: &[DataType]) -> Result<SchemaRef, Error> {
    let fail = |error| fault::planning(&error);
    if matches!(plan, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_)) {
        return Ok(plain(plan.schema().as_arrow()));
    }
    // Typed nulls, so that the answer's nullability is the same before and after values are bound.
    let nulls = types.iter().map(ScalarValue::try_from).collect::<Result<Vec<_>>>().map_err(fail)?;
    let plan = if nulls.is_empty() {
        plan.clone()
    } else {
        plan.clone().with_param_values(ParamValues::from(nulls)).map_err(fail)?
    };
    let analyzed = state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {}).map_err(fail)?;
    let schema = plain(analyzed.schema().as_arrow());
    if !schema.fields().iter().any(|field| field.name().contains(APART)) {
        return Ok(schema);
    }
    let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_name(told(field.name())));
    Ok(Arc::new(Schema::new(fields.collect::<Vec<Field>>())))
}

/// A schema without views, dictionaries and metadata.
pub(crate) fn plain(schema: &Schema) -> SchemaRef {
    let fields: Vec<Field> = schema.fields().iter().map(|field| plain_field(field)).collect();
    Arc::new(Schema::new(fields))
}

fn plain_field(field: &Field) -> Field {
    Field::new(field.name(), plain_type(field.data_type()), field.is_nullable())
}

pub(crate) fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, value) => plain_type(value),
        DataType::List(item) | DataType::ListView(item) => DataType::List(Arc::new(plain_field(item))),
        DataType::LargeList(item) | DataType::LargeListView(item) => DataType::LargeList(Arc::new(plain_field(item))),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(Arc::new(plain_field(item)), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|field| plain_field(field)).collect()),
        DataType::Map(entries, sorted) => DataType::Map(Arc::new(plain_field(entries)), *sorted),
        other => other.clone(),
    }
}
