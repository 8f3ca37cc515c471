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
        test::{NumberTest, QuantityTest},
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
    let texts = if at.leaves.values.data_type().is_integer() { None } else { at.beside("text", 1)? };
    let numbers = Numbers::new(&at.leaves, texts.as_ref())?;
    let mask = BooleanBuffer::collect_bool(at.leaves.len(), |place| {
        numbers.get(place).is_some_and(|number| tests.iter().any(|test| test.matches(Some(&number), Some(&number))))
    });
    Ok(at.leaves.any(&mask))
}

/// A Quantity's numbers and units.
struct Quantities {
    values: Option<Numbers>,
    systems: Option<StringArray>,
    codes: Option<StringArray>,
    units: Option<StringArray>,
}

impl Quantities {
    fn new(leaves: &Leaves) -> Result<Self, ArrowError> {
        let texts = leaves.member("value__text")?;
        let values = leaves.member("value")?.map(|values| Numbers::new(&values, texts.as_ref())).transpose()?;
        let codes = match leaves.texts("code")? {
            Some(codes) => Some(codes),
            None => leaves.texts("currency")?,
        };
        Ok(Self { values, systems: leaves.texts("system")?, codes, units: leaves.texts("unit")? })
    }

    fn get(&self, place: usize) -> Option<Decimal> {
        self.values.as_ref().and_then(|values| values.get(place))
    }

    /// Units are case-sensitive (UCUM).
    fn unit_fits(&self, place: usize, test: &QuantityTest) -> bool {
        let Some(unit) = &test.unit else { return true };
        let code = get(&self.codes, place) == Some(unit.code.as_str());
        match &unit.system {
            Some(system) => code && get(&self.systems, place) == Some(system.as_str()),
            None => code || get(&self.units, place) == Some(unit.code.as_str()),
        }
    }
}

pub(super) fn quantities(at: &At<'_>, tests: &[QuantityTest]) -> Result<BooleanBuffer, ArrowError> {
    let leaves = &at.leaves;
    if at.type_id().name() == "Range" {
        let side = |name: &str| leaves.member(name)?.map(|side| Quantities::new(&side)).transpose();
        let (low, high) = (side("low")?, side("high")?);
        let get = |side: &Option<Quantities>, place| side.as_ref().and_then(|side| side.get(place));
        let unit = |side: &Option<Quantities>, place, test: &QuantityTest| {
            side.as_ref().is_some_and(|side| side.unit_fits(place, test))
        };
        let mask = BooleanBuffer::collect_bool(leaves.len(), |place| {
            let (from, to) = (get(&low, place), get(&high, place));
            let fits = |test: &QuantityTest| {
                (unit(&low, place, test) || unit(&high, place, test)) && test.number.matches(from.as_ref(), to.as_ref())
            };
            (from.is_some() || to.is_some()) && tests.iter().any(fits)
        });
        return Ok(leaves.any(&mask));
    }
    let quantities = Quantities::new(leaves)?;
    let mask = BooleanBuffer::collect_bool(leaves.len(), |place| {
        quantities.get(place).is_some_and(|number| {
            tests
                .iter()
                .any(|test| test.number.matches(Some(&number), Some(&number)) && quantities.unit_fits(place, test))
        })
    });
    Ok(leaves.any(&mask))
}
