//! Units of UCUM told in base units, so that `mg` compares with `g` (R4 3.1.1.4.11: "a search based on canonical units").
//!
//! Only what converts by an exact factor: temperatures other than kelvins, angles and logarithmic units are equal to themselves
//! alone. So is everything that has no dimension: a percentage, a `{score}` and an `{INR}` would be one thing to UCUM. A mole is a
//! dimension of its own here, which UCUM counts as a number.

use super::decimal::Decimal;

/// The system of UCUM's codes.
pub(super) const UCUM: &str = "http://unitsofmeasure.org";

/// Longest code that is read.
const MAX_BYTES: usize = 64;
const MAX_DEPTH: usize = 4;
const MAX_EXPONENT: i8 = 30;

/// Metre, gram, second, kelvin, coulomb, candela, mole, equivalent, osmole, international unit.
type Dimension = [i8; 10];

/// A unit as a multiple `times / per` of base units.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Measure {
    dimension: Dimension,
    times: Decimal,
    per: Decimal,
}

/// Of the enzyme unit, a micromole in a minute of 60 seconds.
const ENZYME: &str = "1e-6";

/// Atoms: code, whether prefixes go with it, factor, dimension.
const ATOMS: &[(&str, bool, &str, Dimension)] = &[
    ("m", true, "1", [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("g", true, "1", [0, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("s", true, "1", [0, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
    ("K", true, "1", [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
    ("C", true, "1", [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]),
    ("cd", true, "1", [0, 0, 0, 0, 0, 1, 0, 0, 0, 0]),
    ("mol", true, "1", [0, 0, 0, 0, 0, 0, 1, 0, 0, 0]),
    ("eq", true, "1", [0, 0, 0, 0, 0, 0, 0, 1, 0, 0]),
    ("osm", true, "1", [0, 0, 0, 0, 0, 0, 0, 0, 1, 0]),
    ("[IU]", true, "1", [0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    ("[iU]", true, "1", [0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    ("%", false, "0.01", [0; 10]),
    ("L", true, "1e-3", [3, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("l", true, "1e-3", [3, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("t", true, "1e6", [0, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("Hz", true, "1", [0, 0, -1, 0, 0, 0, 0, 0, 0, 0]),
    ("N", true, "1e3", [1, 1, -2, 0, 0, 0, 0, 0, 0, 0]),
    ("Pa", true, "1e3", [-1, 1, -2, 0, 0, 0, 0, 0, 0, 0]),
    ("bar", true, "1e8", [-1, 1, -2, 0, 0, 0, 0, 0, 0, 0]),
    ("m[Hg]", true, "133322e3", [-1, 1, -2, 0, 0, 0, 0, 0, 0, 0]),
    ("m[H2O]", true, "980665e1", [-1, 1, -2, 0, 0, 0, 0, 0, 0, 0]),
    ("J", true, "1e3", [2, 1, -2, 0, 0, 0, 0, 0, 0, 0]),
    ("cal", true, "4184", [2, 1, -2, 0, 0, 0, 0, 0, 0, 0]),
    ("W", true, "1e3", [2, 1, -3, 0, 0, 0, 0, 0, 0, 0]),
    ("A", true, "1", [0, 0, -1, 0, 1, 0, 0, 0, 0, 0]),
    ("V", true, "1e3", [2, 1, -2, 0, -1, 0, 0, 0, 0, 0]),
    ("U", true, ENZYME, [0, 0, -1, 0, 0, 0, 1, 0, 0, 0]),
    ("kat", true, "1", [0, 0, -1, 0, 0, 0, 1, 0, 0, 0]),
    ("Bq", true, "1", [0, 0, -1, 0, 0, 0, 0, 0, 0, 0]),
    ("Gy", true, "1", [2, 0, -2, 0, 0, 0, 0, 0, 0, 0]),
    ("Sv", true, "1", [2, 0, -2, 0, 0, 0, 0, 0, 0, 0]),
    ("min", false, "60", [0, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
    ("h", false, "3600", [0, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
    ("d", false, "86400", [0, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
    ("wk", false, "604800", [0, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
    ("mo", false, "2629800", [0, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
    ("a", false, "31557600", [0, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
    ("[in_i]", false, "0.0254", [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("[ft_i]", false, "0.3048", [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("[yd_i]", false, "0.9144", [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("[mi_i]", false, "1609.344", [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("[lb_av]", false, "453.59237", [0, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("[oz_av]", false, "28.349523125", [0, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("[gr]", false, "0.06479891", [0, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
];

const PREFIXES: &[(&str, &str)] = &[
    ("da", "1e1"),
    ("Y", "1e24"),
    ("Z", "1e21"),
    ("E", "1e18"),
    ("P", "1e15"),
    ("T", "1e12"),
    ("G", "1e9"),
    ("M", "1e6"),
    ("k", "1e3"),
    ("h", "1e2"),
    ("d", "1e-1"),
    ("c", "1e-2"),
    ("m", "1e-3"),
    ("u", "1e-6"),
    ("n", "1e-9"),
    ("p", "1e-12"),
    ("f", "1e-15"),
    ("a", "1e-18"),
    ("z", "1e-21"),
    ("y", "1e-24"),
];

impl Measure {
    /// Reads a code such as `mg/dL` or `10*3/uL`; `None` where it is none that converts.
    pub(super) fn read(code: &str) -> Option<Self> {
        (code.is_ascii() && !code.is_empty() && code.len() <= MAX_BYTES).then_some(())?;
        let mut rest = code;
        let measure = term(&mut rest, 0)?;
        (rest.is_empty() && measure.dimension != [0; 10]).then_some(measure)
    }

    /// Factors by which a number in `other` and a number in this unit become comparable; `None` where they measure different
    /// things.
    pub(super) fn factors(&self, other: &Self) -> Option<(Decimal, Decimal)> {
        (self.dimension == other.dimension).then_some(())?;
        Some((other.times.times(self.per)?, self.times.times(other.per)?))
    }

    fn one() -> Self {
        let one = Decimal::from_integer(1);
        Self { dimension: [0; 10], times: one, per: one }
    }

    fn and(&self, other: &Self, divided: bool) -> Option<Self> {
        let (times, per) = if divided { (other.per, other.times) } else { (other.times, other.per) };
        let mut dimension = self.dimension;
        for (own, more) in dimension.iter_mut().zip(other.dimension) {
            *own = if divided { own.checked_sub(more)? } else { own.checked_add(more)? };
        }
        Some(Self { dimension, times: self.times.times(times)?, per: self.per.times(per)? })
    }

    fn power(&self, exponent: i8) -> Option<Self> {
        let mut whole = Self::one();
        for _ in 0..exponent.unsigned_abs() {
            whole = whole.and(self, exponent < 0)?;
        }
        Some(whole)
    }
}

/// `component (. component | / component)*`, which may begin with `/`.
fn term(rest: &mut &str, depth: usize) -> Option<Measure> {
    (depth <= MAX_DEPTH).then_some(())?;
    let mut whole = Measure::one();
    let mut divided = take(rest, "/");
    loop {
        whole = whole.and(&component(rest, depth)?, divided)?;
        divided = take(rest, "/");
        if !divided && !take(rest, ".") {
            return Some(whole);
        }
    }
}

fn component(rest: &mut &str, depth: usize) -> Option<Measure> {
    if take(rest, "(") {
        let inner = term(rest, depth + 1)?;
        return take(rest, ")").then_some(inner);
    }
    if annotation(rest)? {
        return Some(Measure::one());
    }
    let found = if take(rest, "10*") || take(rest, "10^") {
        let ten = Measure { times: Decimal::from_integer(10), ..Measure::one() };
        ten.power(exponent(rest)?.unwrap_or(1))?
    } else if rest.starts_with(|c: char| c.is_ascii_digit()) {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        *rest = after;
        let number = Decimal::parse(number).filter(|number| *number > Decimal::from_integer(0))?;
        Measure { times: number, ..Measure::one() }
    } else {
        let (unit, after) = rest.split_at(atom_length(rest));
        let unit = atom(unit)?;
        *rest = after;
        unit.power(exponent(rest)?.unwrap_or(1))?
    };
    annotation(rest)?;
    Some(found)
}

/// Bytes of the atom at the beginning: letters, `%`, and what stands in square brackets.
fn atom_length(text: &str) -> usize {
    let mut inside = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'[' => inside = true,
            b']' => inside = false,
            b'%' => {}
            byte if inside || byte.is_ascii_alphabetic() => {}
            _ => return at,
        }
    }
    text.len()
}

fn atom(code: &str) -> Option<Measure> {
    let find = |code: &str, prefixed: bool| {
        let found = ATOMS.iter().find(|(known, metric, ..)| *known == code && (*metric || !prefixed))?;
        let per = Decimal::from_integer(if found.0 == "U" { 60 } else { 1 });
        Some(Measure { dimension: found.3, times: Decimal::parse(found.2)?, per })
    };
    if let Some(plain) = find(code, false) {
        return Some(plain);
    }
    PREFIXES.iter().find_map(|(prefix, factor)| {
        let mut unit = find(code.strip_prefix(prefix)?, true)?;
        unit.times = unit.times.times(Decimal::parse(factor)?)?;
        Some(unit)
    })
}

/// `3`, `-3`, `+3`, or nothing; `None` where it is too large.
#[allow(clippy::option_option, reason = "no exponent is one thing, one that is too large another")]
fn exponent(rest: &mut &str) -> Option<Option<i8>> {
    let sign = usize::from(rest.starts_with(['+', '-']));
    let digits = rest.bytes().skip(sign).take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return (sign == 0).then_some(None);
    }
    let (number, after) = rest.split_at(sign + digits);
    *rest = after;
    let number = number.parse::<i8>().ok().filter(|number| number.unsigned_abs() <= MAX_EXPONENT.unsigned_abs())?;
    Some(Some(number))
}

/// `{what is counted}`, which means nothing; `None` where it does not end.
fn annotation(rest: &mut &str) -> Option<bool> {
    if !take(rest, "{") {
        return Some(false);
    }
    let (_, after) = rest.split_once('}')?;
    *rest = after;
    Some(true)
}

fn take(rest: &mut &str, what: &str) -> bool {
    match rest.strip_prefix(what) {
        Some(after) => {
            *rest = after;
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use rstest::rstest;

    use super::*;

    // hand-computed: 1 [lb_av] is 453.59237 g, 1 mm[Hg] 133.322 Pa
    #[rstest]
    #[case("1", "g", "1000", "mg")]
    #[case("0.0054", "g", "5.4", "mg")]
    #[case("1", "kg", "1000000000", "ug")]
    #[case("5.5", "mmol/L", "0.0055", "mol/L")]
    #[case("5.5", "mmol/L", "5500", "umol/L")]
    #[case("90", "mg/dL", "0.9", "g/L")]
    #[case("13.5", "g/dL", "135", "g/L")]
    #[case("4.5", "10*3/uL", "4.5", "10*9/L")]
    #[case("4.5", "10^3/uL", "4500", "/uL")]
    #[case("4.5", "10*6/uL", "4.5", "10*12/l")]
    #[case("170", "cm", "1.7", "m")]
    #[case("1", "[in_i]", "2.54", "cm")]
    #[case("1", "[lb_av]", "0.45359237", "kg")]
    #[case("16", "[oz_av]", "1", "[lb_av]")]
    #[case("120", "mm[Hg]", "15.99864", "kPa")]
    #[case("1", "h", "60", "min")]
    #[case("2", "/min", "120", "/h")]
    #[case("72", "{beats}/min", "72", "/min")]
    #[case("1", "kg/m2", "0.1", "g/cm2")]
    #[case("1", "L", "1", "dm3")]
    #[case("1", "mL", "1", "cm3")]
    #[case("5", "%/L", "0.05", "{ratio}/L")]
    #[case("60", "U/L", "1", "umol/s/L")]
    #[case("1", "kU/L", "1000", "U/L")]
    #[case("1", "m/s2", "1", "m/(s.s)")]
    #[case("1", "m.s-2", "1", "m/s2")]
    #[case("1", "kat", "60", "mol/min")]
    #[case("1000", "m[IU]/L", "1", "[iU]/L")]
    #[case("1", "a", "12", "mo")]
    #[case("1", "kcal", "4184", "J")]
    #[case("1", "V", "1", "J/C")]
    fn one_quantity_is_another_in_another_unit(
        #[case] number: &str,
        #[case] code: &str,
        #[case] other_number: &str,
        #[case] other_code: &str,
    ) {
        let (one, other) = (Measure::read(code).unwrap(), Measure::read(other_code).unwrap());
        let (of_other, of_own) = one.factors(&other).unwrap();
        let own = Decimal::parse(number).unwrap().times(of_own).unwrap();
        assert_eq!(Decimal::parse(other_number).unwrap().times(of_other).unwrap(), own);
    }

    #[rstest]
    #[case("mg", "mL")]
    #[case("mmol/L", "mg/dL")]
    #[case("mg", "mg/d")]
    #[case("[IU]", "mg")]
    #[case("eq", "mol")]
    #[case("kg/m2", "g")]
    fn what_measures_different_things_does_not_convert(#[case] one: &str, #[case] other: &str) {
        assert_eq!(Measure::read(one).unwrap().factors(&Measure::read(other).unwrap()), None);
    }

    #[rstest]
    #[case("")]
    #[case("Cel")]
    #[case("[degF]")]
    #[case("furlong")]
    #[case("kmin")]
    #[case("mg/")]
    #[case("mg//dL")]
    #[case("{open")]
    #[case("(mg")]
    #[case("10*99")]
    #[case("m999")]
    #[case("0")]
    #[case("µg")]
    #[case("((((((m))))))")]
    #[case("[pH]")]
    #[case("%")]
    #[case("{score}")]
    #[case("1")]
    #[case("mg/g")]
    fn what_does_not_convert_is_no_measure(#[case] code: &str) {
        assert_eq!(Measure::read(code), None);
    }
}
