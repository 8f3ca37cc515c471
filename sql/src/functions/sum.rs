//! `sum` of whole numbers, refused where it does not fit a `BIGINT`: the engine's own wraps around.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array},
    buffer::NullBuffer,
    datatypes::{DataType, FieldRef, Int64Type},
};
use datafusion::{
    common::{DataFusionError, Result, ScalarValue},
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, Expr, GroupsAccumulator, Operator,
        ReversedUDAF, SetMonotonicity, Signature,
        expr::AggregateFunction,
        function::{AccumulatorArgs, StateFieldsArgs},
        utils::AggregateOrderSensitivity,
    },
    physical_expr::NullState,
};

use crate::Error;

/// Rows whose halves are summed before they are put together; so many halves of 32 bits fit an `i64`.
const AT_ONCE: usize = 1 << 20;

/// `function`; for `sum` one that looks whether it fits.
pub(super) fn checked(function: Arc<AggregateUDF>) -> Arc<AggregateUDF> {
    match function.name() {
        "sum" => Arc::new(AggregateUDF::new_from_impl(Checked { inner: function })),
        _ => function,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    inner: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for Checked {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let (whole, distinct) = (is_whole(&args), args.is_distinct);
        match (whole, distinct) {
            (true, true) => Ok(Box::new(Distinct { inner: self.inner.accumulator(args)? })),
            (true, false) => Ok(Box::new(Whole::default())),
            (false, _) => self.inner.accumulator(args),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        if is_whole(&args) {
            return Ok(Box::new(Groups { sums: Vec::new(), seen: NullState::new() }));
        }
        self.inner.create_groups_accumulator(args)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if is_whole(&args) {
            let times = args.is_distinct.then(HashMap::new);
            return Ok(Box::new(Sliding { whole: Whole::default(), times }));
        }
        self.inner.create_sliding_accumulator(args)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.inner.inner().set_monotonicity(data_type)
    }

    fn simplify_expr_op_literal(
        &self,
        function: &AggregateFunction,
        arg: &Expr,
        op: Operator,
        literal: &Expr,
        arg_is_left: bool,
    ) -> Result<Option<Expr>> {
        // `+` of signed numbers is a function by then (`crate::exact`), so that none of these comes here. The call that is
        // taken apart is one of ours, and so is what is made of it.
        self.inner.inner().simplify_expr_op_literal(function, arg, op, literal, arg_is_left)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

fn is_whole(args: &AccumulatorArgs<'_>) -> bool {
    *args.return_field.data_type() == DataType::Int64
}

fn too_large() -> DataFusionError {
    DataFusionError::External(Box::new(Error::Value { message: "a sum is too large for a BIGINT".to_owned() }))
}

/// What is there, added up; no number of rows is too large for it.
fn total(values: &Int64Array) -> i128 {
    if values.null_count() > 0 {
        return values.iter().flatten().map(i128::from).sum();
    }
    let of_chunk = |chunk: &[i64]| {
        // Halves are added without a carry, several at once.
        let (high, low) =
            chunk.iter().fold((0_i64, 0_i64), |(high, low), value| (high + (value >> 32), low + (value & 0xFFFF_FFFF)));
        (i128::from(high) << 32) + i128::from(low)
    };
    values.values().chunks(AT_ONCE).map(of_chunk).sum()
}

#[derive(Debug, Default)]
struct Whole {
    sum: i128,
    /// How many values it is the sum of.
    count: u64,
}

impl Whole {
    fn add(&mut self, values: &Int64Array) {
        self.sum += total(values);
        self.count += (values.len() - values.null_count()) as u64;
    }
}

impl Accumulator for Whole {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(values[0].as_primitive::<Int64Type>());
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.count == 0 {
            return Ok(ScalarValue::Int64(None));
        }
        i64::try_from(self.sum).map(|sum| ScalarValue::Int64(Some(sum))).map_err(|_| too_large())
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    /// A part that does not fit is refused, though others might have brought it back.
    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }
}

/// The engine's own knows which values there are; only its sum is not taken.
#[derive(Debug)]
struct Distinct {
    inner: Box<dyn Accumulator>,
}

impl Accumulator for Distinct {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(values)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut whole = Whole::default();
        for state in self.inner.state()? {
            if let ScalarValue::List(list) = state {
                whole.add(list.values().as_primitive::<Int64Type>());
            }
        }
        whole.evaluate()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }
}

/// Of the rows of a window that moves.
#[derive(Debug)]
struct Sliding {
    whole: Whole,
    /// Of DISTINCT: how often each value is in the window.
    times: Option<HashMap<i64, u64>>,
}

impl Accumulator for Sliding {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = values[0].as_primitive::<Int64Type>();
        let Some(times) = &mut self.times else {
            self.whole.add(values);
            return Ok(());
        };
        for value in values.iter().flatten() {
            let times = times.entry(value).or_insert(0);
            if *times == 0 {
                self.whole.sum += i128::from(value);
                self.whole.count += 1;
            }
            *times += 1;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = values[0].as_primitive::<Int64Type>();
        let Some(times) = &mut self.times else {
            self.whole.sum -= total(values);
            self.whole.count -= (values.len() - values.null_count()) as u64;
            return Ok(());
        };
        for value in values.iter().flatten() {
            if let Some(left) = times.get_mut(&value) {
                *left -= 1;
                if *left == 0 {
                    times.remove(&value);
                    self.whole.sum -= i128::from(value);
                    self.whole.count -= 1;
                }
            }
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.whole.evaluate()
    }

    fn size(&self) -> usize {
        let kept = self.times.as_ref().map_or(0, |times| times.capacity() * size_of::<(i64, u64)>());
        size_of_val(self) + kept
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.whole.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }
}

/// Of many groups, in 64 bits as they are stored: what goes beyond is noticed at each batch.
#[derive(Debug)]
struct Groups {
    sums: Vec<i64>,
    seen: NullState,
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        all: usize,
    ) -> Result<()> {
        self.sums.resize(all, 0);
        let (sums, mut grew) = (self.sums.as_mut_slice(), false);
        self.seen.accumulate(groups, values[0].as_primitive::<Int64Type>(), filter, all, |group, value| {
            let (sum, over) = sums[group].overflowing_add(value);
            sums[group] = sum;
            grew |= over;
        });
        if grew { Err(too_large()) } else { Ok(()) }
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let sums = emit.take_needed(&mut self.sums);
        Ok(Arc::new(Int64Array::new(sums.into(), self.seen.build(emit))))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit)?])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], all: usize) -> Result<()> {
        self.update_batch(values, groups, None, all)
    }

    /// A value is the sum of itself.
    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = values[0].as_primitive::<Int64Type>();
        let passes = filter.map(|filter| {
            let (passes, known) = filter.clone().into_parts();
            NullBuffer::new(known.map_or(passes.clone(), |known| known.inner() & &passes))
        });
        let nulls = NullBuffer::union(values.nulls(), passes.as_ref());
        Ok(vec![Arc::new(Int64Array::new(values.values().clone(), nulls))])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<i64>() + self.seen.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::util::display::array_value_to_string;
    use datafusion::prelude::{SessionConfig, SessionContext};
    use rstest::rstest;

    const MOST: &str = "9223372036854775807";

    async fn answer(expr: &str) -> std::result::Result<String, String> {
        let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
        for function in context.state().aggregate_functions().values() {
            context.register_udaf(checked(Arc::clone(function)).as_ref().clone());
        }
        let told = |error: DataFusionError| crate::fault::execution(&error).to_string();
        let batches = context.sql(&format!("SELECT {expr}")).await.map_err(told)?.collect().await.map_err(told)?;
        let rows = batches.iter().flat_map(|batch| {
            (0..batch.num_rows()).map(|row| array_value_to_string(batch.column(0), row).unwrap()).collect::<Vec<_>>()
        });
        Ok(rows.collect::<Vec<_>>().join(" "))
    }

    #[rstest]
    #[case(&format!("sum(x) FROM (VALUES ({MOST}), (1)) t(x)"))]
    #[case(&format!("sum(-x) FROM (VALUES ({MOST}), (2)) t(x)"))]
    #[case(&format!("sum(x) FROM (VALUES (1, {MOST}), (1, 1), (2, 3)) t(g, x) GROUP BY g"))]
    #[case(&format!("sum(x) FILTER (WHERE x > 0) FROM (VALUES (1, {MOST}), (1, 1), (2, 3)) t(g, x) GROUP BY g"))]
    #[case(&format!("sum(DISTINCT x) FROM (VALUES ({MOST}), (1)) t(x)"))]
    #[case(&format!("sum(DISTINCT x) + count(DISTINCT y) FROM (VALUES ({MOST}, 1), (1, 2)) t(x, y)"))]
    #[case(&format!("sum(x) OVER () FROM (VALUES ({MOST}), (1)) t(x)"))]
    #[case(&format!("sum(x) OVER (ORDER BY x) FROM (VALUES ({MOST}), (1)) t(x)"))]
    #[case(&format!("sum(x) OVER (ORDER BY x ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM (VALUES ({MOST}), (1)) t(x)"))]
    #[case(&format!("1 WHERE 1 IN (SELECT sum(x) FROM (VALUES ({MOST}), (1)) t(x))"))]
    #[tokio::test]
    async fn a_sum_that_does_not_fit_is_refused(#[case] expr: &str) {
        let told = answer(expr).await.unwrap_err();
        assert!(told.contains("a sum is too large for a BIGINT") && !told.contains("922"), "{told}");
    }

    #[rstest]
    #[case("sum(x) FROM (VALUES (1), (NULL), (-3)) t(x)", "-2")]
    #[case("sum(x) FROM (VALUES (1)) t(x) WHERE x > 1", "")]
    #[case("sum(x) FROM (VALUES (CAST(NULL AS BIGINT))) t(x)", "")]
    #[case("sum(x) FROM (VALUES (1, 5), (1, NULL), (2, NULL), (3, -4)) t(g, x) GROUP BY g ORDER BY g", "5  -4")]
    #[case("sum(x) FILTER (WHERE x > 0) FROM (VALUES (1, 5), (1, -7), (2, -1)) t(g, x) GROUP BY g ORDER BY g", "5 ")]
    #[case("sum(DISTINCT x) FROM (VALUES (2), (2), (3), (NULL)) t(x)", "5")]
    #[case(
        "sum(x) OVER (ORDER BY x ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM (VALUES (1), (2), (4)) t(x)",
        "1 3 6"
    )]
    #[case(
        "sum(DISTINCT x) OVER (ORDER BY x ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM (VALUES (2), (2), (4)) t(x)",
        "2 2 6"
    )]
    #[case("sum(x) FROM (VALUES (1.5), (2.5)) t(x)", "4.0")]
    #[tokio::test]
    async fn a_sum_that_fits_is_as_it_was(#[case] expr: &str, #[case] expected: &str) {
        assert_eq!(answer(expr).await.unwrap(), expected);
    }

    #[tokio::test]
    async fn what_grows_and_comes_back_fits() {
        let sql = format!("sum(x) FROM (VALUES ({MOST}), (1), (-1)) t(x)");
        assert_eq!(answer(&sql).await.unwrap(), MOST);
    }

    #[rstest]
    #[case(vec![i64::MAX, i64::MAX, i64::MIN, -1])]
    #[case(vec![i64::MIN; 3])]
    #[case(vec![-1; 5])]
    #[case(vec![])]
    fn halves_add_up_to_the_whole(#[case] values: Vec<i64>) {
        let plain: i128 = values.iter().copied().map(i128::from).sum();
        assert_eq!(total(&Int64Array::from(values)), plain);
    }
}
