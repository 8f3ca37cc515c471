use std::{cell::RefCell, collections::HashMap};

use arrow::{
    array::{Array, AsArray, Float64Array, Int64Array, StringArray},
    buffer::BooleanBuffer,
    compute::cast,
    datatypes::{DataType, Float64Type, Int64Type},
    error::ArrowError,
};

use super::{At, coded::get};
use crate::{
    path::navigate::{Leaves, text},
    search::{
        decimal::Decimal,
        test::{NumberTest, QuantityTest, Span},
        units::{Measure, UCUM},
    },
};

/// Numbers with the text that they were written as.
enum Numbers {
    Whole(Int64Array),
    Decimal(Float64Array, Option<StringArray>),
}

impl Numbers {
    fn new(values: &Leaves, texts: Option<&Leaves>) -> Result<Self, ArrowError> {
        if values.values.data_type().is_integer() {
            return Ok(Self::Whole(cast(&values.values, &DataType::Int64)?.as_primitive::<Int64Type>().clone()));
        }
        let numbers = cast(&values.values, &DataType::Float64)?.as_primitive::<Float64Type>().clone();
        Ok(Self::Decimal(numbers, texts.map(|texts| text(&texts.values)).transpose()?))
    }

    /// A decimal is read from its text: a float cannot tell where `5.405` ends.
    fn get(&self, place: usize) -> Option<Decimal> {
        match self {
            Self::Whole(values) => values.is_valid(place).then(|| Decimal::from_integer(values.value(place))),
            Self::Decimal(values, texts) => match get(texts, place) {
                Some(text) => Decimal::parse(text),
                None => values.is_valid(place).then(|| Decimal::parse(&values.value(place).to_string())).flatten(),
            },
        }
    }
}

pub(super) fn numbers(at: &At<'_>, tests: &[NumberTest]) -> Result<BooleanBuffer, ArrowError> {
    if at.type_id().name() == "Range" {
        let tests: Vec<QuantityTest> =
            tests.iter().map(|number| QuantityTest { number: number.clone(), unit: None }).collect();
        return ranges(&at.leaves, &tests);
    }
    let texts = if at.leaves.values.data_type().is_integer() { None } else { at.beside("text", 1)? };
    let numbers = Numbers::new(&at.leaves, texts.as_ref())?;
    let mask = BooleanBuffer::collect_bool(at.leaves.len(), |place| {
        numbers.get(place).is_some_and(|number| tests.iter().any(|test| test.matches(&Span::of(number))))
    });
    Ok(at.leaves.any(&mask))
}

/// A Quantity's numbers and units.
struct Quantities {
    values: Option<Numbers>,
    systems: Option<StringArray>,
    codes: Option<StringArray>,
    units: Option<StringArray>,
    comparators: Option<StringArray>,
    /// Money says its currency alone: the system of currencies is implied.
    is_money: bool,
    /// What the codes that were met measure.
    measures: RefCell<HashMap<String, Option<Measure>>>,
}

/// ISO 4217.
const CURRENCIES: &str = "urn:iso:std:iso:4217";

impl Quantities {
    fn new(leaves: &Leaves) -> Result<Self, ArrowError> {
        let texts = leaves.member("value__text")?;
        let values = leaves.member("value")?.map(|values| Numbers::new(&values, texts.as_ref())).transpose()?;
        let currencies = leaves.texts("currency")?;
        let is_money = currencies.is_some();
        let codes = if is_money { currencies } else { leaves.texts("code")? };
        let (systems, units) = (leaves.texts("system")?, leaves.texts("unit")?);
        let comparators = leaves.texts("comparator")?;
        Ok(Self { values, systems, codes, units, comparators, is_money, measures: RefCell::default() })
    }

    fn get(&self, place: usize) -> Option<Decimal> {
        self.values.as_ref().and_then(|values| values.get(place))
    }

    /// What the value of a place stands for: with a comparator everything on one side of its number.
    fn span(&self, place: usize) -> Option<Span> {
        let number = self.get(place)?;
        let (from, to, strict) = match get(&self.comparators, place) {
            Some("<") => (None, Some(number), true),
            Some("<=") => (None, Some(number), false),
            Some(">") => (Some(number), None, true),
            Some(">=") => (Some(number), None, false),
            _ => (Some(number), Some(number), false),
        };
        Some(Span { from, to, strict })
    }

    /// Numbers in the unit of a place against what is searched for.
    fn passes(&self, place: usize, span: &Span, test: &QuantityTest) -> bool {
        if self.unit_fits(place, test) {
            return test.number.matches(span);
        }
        let Some(measure) = test.unit.as_ref().and_then(|unit| unit.measure.as_ref()) else { return false };
        let Some((theirs, ours)) = self.factors(place, measure) else { return false };
        // a number with more digits than are kept is comparable with none
        test.number.times(ours).zip(span.times(theirs)).is_some_and(|(test, span)| test.matches(&span))
    }

    /// By what a number at this place and one in the measure are to be multiplied to be comparable.
    fn factors(&self, place: usize, measure: &Measure) -> Option<(Decimal, Decimal)> {
        let code = get(&self.codes, place).filter(|_| get(&self.systems, place) == Some(UCUM))?;
        let mut measures = self.measures.borrow_mut();
        if !measures.contains_key(code) {
            measures.insert(code.to_owned(), Measure::read(code));
        }
        measure.factors(measures.get(code)?.as_ref()?)
    }

    /// Units are case-sensitive (UCUM).
    fn unit_fits(&self, place: usize, test: &QuantityTest) -> bool {
        let Some(unit) = &test.unit else { return true };
        let code = get(&self.codes, place) == Some(unit.code.as_str());
        match &unit.system {
            Some(system) if self.is_money => code && system == CURRENCIES,
            Some(system) => code && get(&self.systems, place) == Some(system.as_str()),
            None => code || get(&self.units, place) == Some(unit.code.as_str()),
        }
    }
}

pub(super) fn quantities(at: &At<'_>, tests: &[QuantityTest]) -> Result<BooleanBuffer, ArrowError> {
    let leaves = &at.leaves;
    match at.type_id().name() {
        "Range" => return ranges(leaves, tests),
        "SampledData" => return samples(at, tests),
        _ => {}
    }
    let quantities = Quantities::new(leaves)?;
    let mask = BooleanBuffer::collect_bool(leaves.len(), |place| {
        quantities.span(place).is_some_and(|span| tests.iter().any(|test| quantities.passes(place, &span, test)))
    });
    Ok(leaves.any(&mask))
}

/// From `low` to `high`; a side that is missing is open.
fn ranges(leaves: &Leaves, tests: &[QuantityTest]) -> Result<BooleanBuffer, ArrowError> {
    let side = |name: &str| leaves.member(name)?.map(|side| Quantities::new(&side)).transpose();
    let (low, high) = (side("low")?, side("high")?);
    let get = |side: &Option<Quantities>, place| side.as_ref().and_then(|side| side.get(place));
    let mask = BooleanBuffer::collect_bool(leaves.len(), |place| {
        let span = Span { from: get(&low, place), to: get(&high, place), strict: false };
        // both sides have one unit, which one of them may leave to the other
        let passes = |side: &Option<Quantities>, test: &QuantityTest| {
            side.as_ref().is_some_and(|side| side.passes(place, &span, test))
        };
        let fits = |test: &QuantityTest| passes(&low, test) || passes(&high, test);
        (span.from.is_some() || span.to.is_some()) && tests.iter().any(fits)
    });
    Ok(leaves.any(&mask))
}

/// The measured values of a series, `data * factor + origin` in the unit of the origin: any of them. What was not measured
/// (`E`) or lies outside of what the device can tell (`L`, `U`) has no value.
fn samples(at: &At<'_>, tests: &[QuantityTest]) -> Result<BooleanBuffer, ArrowError> {
    let leaves = &at.leaves;
    let Some(origin) = leaves.member("origin")? else { return Ok(at.none()) };
    let origins = Quantities::new(&origin)?;
    let texts = leaves.member("factor__text")?;
    let factors = leaves.member("factor")?.map(|values| Numbers::new(&values, texts.as_ref())).transpose()?;
    let data = leaves.texts("data")?;
    let mask = BooleanBuffer::collect_bool(leaves.len(), |place| {
        let (Some(origin), Some(data)) = (origins.get(place), get(&data, place)) else { return false };
        let factor = factors.as_ref().and_then(|factors| factors.get(place));
        let value = |sample: &str| {
            let sample = Decimal::parse(sample)?;
            match factor {
                Some(factor) => sample.times(factor)?.plus(origin),
                None => sample.plus(origin),
            }
        };
        let passes = |number: Decimal| tests.iter().any(|test| origins.passes(place, &Span::of(number), test));
        data.split_ascii_whitespace().filter_map(value).any(passes)
    });
    Ok(leaves.any(&mask))
}
