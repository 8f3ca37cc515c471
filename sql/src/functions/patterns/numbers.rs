//! Numbers as texts, as a pattern of PostgreSQL's `to_char` says (its manual, 9.8, "template patterns for numeric formatting").

use super::{Case, write::ending};

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    /// A digit; whether it is written where there is none.
    Digit(bool),
    Point,
    Group,
    /// `MI`, `PL` and `SG`: a sign at its own place, for numbers below 0, for others, for all.
    Sign(bool, bool),
    Currency,
    Ordinal(Case),
    Text(String),
}

/// Where the sign goes that has no place of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signed {
    /// Before the first digit, numbers that are not below 0 have a blank.
    Minus,
    /// Before the first digit, `+` too.
    Before,
    /// After the last digit.
    After,
    Brackets,
    Nowhere,
}

/// A pattern of numbers that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Numbers {
    items: Vec<Item>,
    /// `FM`: without blanks and without the noughts at the end.
    bare: bool,
    signed: Signed,
    /// Digits before and after the point.
    before: usize,
    after: usize,
}

impl Numbers {
    /// # Errors
    /// What the pattern says that cannot be done.
    pub(super) fn read(pattern: &str) -> Result<Self, String> {
        let mut read = Self { items: Vec::new(), bare: false, signed: Signed::Minus, before: 0, after: 0 };
        let (mut point, mut own, mut bracket, mut sign) = (false, (false, false), false, None);
        let mut rest = pattern;
        while let Some(first) = rest.chars().next() {
            let two: String = rest.chars().take(2).collect::<String>().to_ascii_uppercase();
            let exact = |names: [&str; 2]| names.iter().any(|name| rest.starts_with(name));
            let mut length = 2;
            match two.as_str() {
                "FM" => read.bare = true,
                "MI" | "PL" | "SG" => {
                    let (minus, plus) = (two != "PL", two != "MI");
                    own = (own.0 | minus, own.1 | plus);
                    read.items.push(Item::Sign(minus, plus));
                }
                "PR" => bracket = true,
                "TH" if exact(["TH", "th"]) => {
                    read.items.push(Item::Ordinal(if first == 'T' { Case::Upper } else { Case::Lower }));
                }
                "SP" => {}
                "RN" | "EE" => return Err(format!("numbers are not written with {two}")),
                _ => {
                    length = first.len_utf8();
                    match first.to_ascii_uppercase() {
                        '9' | '0' if bracket => return Err("PR is the last of a pattern".to_owned()),
                        '9' | '0' => {
                            read.items.push(Item::Digit(first == '0'));
                            *(if point { &mut read.after } else { &mut read.before }) += 1;
                        }
                        '.' | 'D' if point => return Err("a pattern has one decimal point".to_owned()),
                        '.' | 'D' => {
                            point = true;
                            read.items.push(Item::Point);
                        }
                        ',' | 'G' => read.items.push(Item::Group),
                        'L' => read.items.push(Item::Currency),
                        'S' if sign.is_some() => return Err("a pattern has one S".to_owned()),
                        'S' => sign = Some((point, read.before)),
                        'B' => {}
                        'V' => return Err("numbers are not written with V".to_owned()),
                        '"' => {
                            let (text, all) = quoted(rest);
                            read.items.push(Item::Text(text));
                            length = all;
                        }
                        _ => read.items.push(Item::Text(first.to_string())),
                    }
                }
            }
            rest = &rest[length..];
        }
        let is_own = own.0 || own.1;
        if usize::from(sign.is_some()) + usize::from(is_own) + usize::from(bracket) > 1 {
            return Err("S, PR, and MI, PL or SG are not used together".to_owned());
        }
        read.signed = match sign {
            Some((after_point, before)) if after_point || before == read.before => Signed::After,
            Some(_) => Signed::Before,
            None if bracket => Signed::Brackets,
            None if own.0 => Signed::Nowhere,
            None => Signed::Minus,
        };
        Ok(read)
    }

    /// Digits after the point.
    pub(super) fn scale(&self) -> usize {
        self.after
    }

    /// `digits` without a sign, rounded to [`Numbers::scale`] digits after the point by now.
    pub(super) fn write(&self, negative: bool, digits: &str) -> String {
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        // One digit stands before the point of a fraction, written or not.
        let over = whole.len() > self.before;
        let noughts = self.items.iter().take_while(|item| **item != Item::Point).any(|item| *item == Item::Digit(true));
        let kept = self.kept(fraction);
        let hides_nought = !over && whole == "0" && self.after > 0 && !noughts && !(self.bare && kept == 0);
        let mut out = Written {
            of: self,
            negative,
            text: String::new(),
            digits: false,
            signed: matches!(self.signed, Signed::Nowhere | Signed::After),
        };
        let blanks = self.before.saturating_sub(whole.len());
        let (mut at, mut point, mut filled, mut last) = (0, false, false, self.items.len());
        if let Some(of_number) = self.items.iter().rposition(|item| matches!(item, Item::Digit(_) | Item::Point)) {
            last = of_number;
        }
        for (place, item) in self.items.iter().enumerate() {
            match item {
                Item::Digit(nought) if !point => {
                    filled |= nought;
                    if over {
                        out.digit('#');
                    } else if at < blanks {
                        if filled { out.digit('0') } else { out.blank() }
                    } else if hides_nought {
                        out.blank();
                    } else {
                        out.digit(char::from(whole.as_bytes()[at - blanks]));
                    }
                    at += 1;
                }
                Item::Digit(_) => {
                    let nth = at - self.before;
                    if over {
                        out.digit('#');
                    } else if nth < kept {
                        out.digit(fraction.as_bytes().get(nth).map_or('0', |digit| char::from(*digit)));
                    }
                    at += 1;
                }
                Item::Point => {
                    out.sign();
                    out.text.push('.');
                    (point, at) = (true, self.before);
                }
                Item::Group => match (out.digits, self.bare) {
                    (true, _) => out.text.push(','),
                    (false, true) => {}
                    (false, false) => out.text.push(' '),
                },
                Item::Sign(minus, plus) => match (negative && *minus, !negative && *plus) {
                    (true, _) => out.text.push('-'),
                    (_, true) => out.text.push('+'),
                    _ if self.bare => {}
                    _ => out.text.push(' '),
                },
                Item::Currency => out.text.push(' '),
                Item::Ordinal(case) => {
                    if !over && !negative && !point {
                        out.text.push_str(&case.of(ending(whole)));
                    }
                }
                Item::Text(text) => out.text.push_str(text),
            }
            if place == last {
                out.end();
            }
        }
        out.text
    }

    /// How many digits after the point are written.
    fn kept(&self, fraction: &str) -> usize {
        if !self.bare {
            return self.after;
        }
        let asked = self.items.iter().skip_while(|item| **item != Item::Point);
        let asked: Vec<bool> =
            asked.filter_map(|item| if let Item::Digit(nought) = item { Some(*nought) } else { None }).collect();
        let asked = asked.iter().rposition(|nought| *nought).map_or(0, |at| at + 1);
        fraction.trim_end_matches('0').len().max(asked)
    }
}

/// The text that begins with a quote, and how long it is with its quotes.
fn quoted(text: &str) -> (String, usize) {
    let (mut inner, mut escaped) = (String::new(), false);
    for (at, char) in text.char_indices().skip(1) {
        match char {
            '"' if !escaped => return (inner, at + 1),
            '\\' if !escaped => escaped = true,
            _ => {
                inner.push(char);
                escaped = false;
            }
        }
    }
    (inner, text.len())
}

struct Written<'a> {
    of: &'a Numbers,
    negative: bool,
    text: String,
    /// Whether a digit was written.
    digits: bool,
    signed: bool,
}

impl Written<'_> {
    fn blank(&mut self) {
        if !self.of.bare {
            self.text.push(' ');
        }
    }

    fn digit(&mut self, digit: char) {
        self.sign();
        self.text.push(digit);
        self.digits = true;
    }

    /// The sign, where it was not written yet.
    fn sign(&mut self) {
        if std::mem::replace(&mut self.signed, true) {
            return;
        }
        match (self.of.signed, self.negative) {
            (Signed::Before, false) => self.text.push('+'),
            (Signed::Brackets, true) => self.text.push('<'),
            (Signed::Minus | Signed::Before, true) => self.text.push('-'),
            _ => self.blank(),
        }
    }

    /// What comes after the last digit.
    fn end(&mut self) {
        match (self.of.signed, self.negative) {
            (Signed::After, negative) => self.text.push(if negative { '-' } else { '+' }),
            (Signed::Brackets, true) => self.text.push('>'),
            (Signed::Brackets, false) => self.blank(),
            _ => {}
        }
    }
}
