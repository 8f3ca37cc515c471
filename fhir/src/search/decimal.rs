use std::cmp::Ordering;

/// A decimal number as it is written: `mantissa * 10^exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Decimal {
    mantissa: i128,
    exponent: i32,
}

impl Decimal {
    /// At most 30 digits, exponents to 300; `None` beyond and for what is no number.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::parse_with_form(text).map(|(number, _)| number.normal())
    }

    /// And whether it is written with an exponent and no decimal point.
    fn parse_with_form(text: &str) -> Option<(Self, bool)> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (digits, exponent) = match digits.split_once(['e', 'E']) {
            Some((digits, exponent)) => (digits, Some(exponent.parse::<i32>().ok()?)),
            None => (digits, None),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if (digits.contains('.') && fraction.is_empty()) || whole.is_empty() || whole.len() + fraction.len() > 30 {
            return None;
        }
        let mut mantissa: i128 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            if !byte.is_ascii_digit() {
                return None;
            }
            mantissa = mantissa * 10 + i128::from(byte - b'0');
        }
        let scale = i32::try_from(fraction.len()).ok()?;
        let written = exponent.unwrap_or(0);
        if written.abs() > 300 {
            return None;
        }
        let number = Self { mantissa: if negative { -mantissa } else { mantissa }, exponent: written - scale };
        Some((number, exponent.is_some() && fraction.is_empty()))
    }

    pub(super) fn from_integer(number: i64) -> Self {
        Self { mantissa: number.into(), exponent: 0 }.normal()
    }

    /// Without zeros at the end, so that equal numbers are equal values.
    fn normal(mut self) -> Self {
        if self.mantissa == 0 {
            return Self { mantissa: 0, exponent: 0 };
        }
        while self.mantissa % 10 == 0 {
            self.mantissa /= 10;
            self.exponent += 1;
        }
        self
    }

    /// The value and the range that its written precision covers: `100` is `[99.5, 100.5)`, `5.40` is `[5.395, 5.405)`. The
    /// specification's own example makes `1e2` `[95, 105)`: a whole mantissa with an exponent counts with one digit more.
    pub(super) fn parse_range(text: &str) -> Option<(Self, Self, Self)> {
        let (value, exponent_form) = Self::parse_with_form(text)?;
        let unit =
            if exponent_form { Self { mantissa: value.mantissa * 10, exponent: value.exponent - 1 } } else { value };
        let fine = Self { mantissa: unit.mantissa * 10, exponent: unit.exponent - 1 };
        let beside = |half: i128| Self { mantissa: fine.mantissa + half, ..fine }.normal();
        Some((value.normal(), beside(-5), beside(5)))
    }

    /// 10 % to both sides.
    pub(super) fn about(self) -> (Self, Self) {
        let part = |tenths: i128| Self { mantissa: self.mantissa * tenths, exponent: self.exponent - 1 }.normal();
        if self.mantissa < 0 { (part(11), part(9)) } else { (part(9), part(11)) }
    }

    /// `None` where it has more digits than are kept.
    pub(super) fn times(self, other: Self) -> Option<Self> {
        let mantissa = self.mantissa.checked_mul(other.mantissa)?;
        Some(Self { mantissa, exponent: self.exponent + other.exponent }.normal())
    }

    /// `None` where it has more digits than are kept.
    pub(super) fn plus(self, other: Self) -> Option<Self> {
        let exponent = self.exponent.min(other.exponent);
        let aligned = |number: Self| {
            let digits = u32::try_from(number.exponent - exponent).ok()?;
            number.mantissa.checked_mul(10_i128.checked_pow(digits)?)
        };
        Some(Self { mantissa: aligned(self)?.checked_add(aligned(other)?)?, exponent }.normal())
    }

    /// Its first 17 digits, as many as a float tells apart.
    pub(super) fn shortened(self) -> Self {
        let mut short = self;
        while short.mantissa.unsigned_abs() >= 10_u128.pow(17) {
            short.mantissa /= 10;
            short.exponent += 1;
        }
        short.normal()
    }

    #[allow(clippy::cast_precision_loss, reason = "an approximation is what is asked for")]
    pub(super) fn approximately(self) -> f64 {
        self.mantissa as f64 * 10_f64.powi(self.exponent)
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        // to the smaller exponent; where that overflows the numbers are far apart
        let shift = |number: &Self, to: i32| {
            let digits = u32::try_from(number.exponent - to).ok()?;
            10_i128.checked_pow(digits).and_then(|factor| number.mantissa.checked_mul(factor))
        };
        let to = self.exponent.min(other.exponent);
        match (shift(self, to), shift(other, to)) {
            (Some(one), Some(two)) => one.cmp(&two),
            _ => self.approximately().total_cmp(&other.approximately()),
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
