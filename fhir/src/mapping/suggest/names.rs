use mavis_types::normalize_name;

/// A name taken apart.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) tokens: Vec<String>,
    /// The tokens with `_` between them.
    pub(super) joined: String,
}

impl Names {
    /// Accents, case, `snake_case` and `camelCase` make no difference.
    pub(super) fn new(name: &str) -> Self {
        let mut spaced = String::with_capacity(name.len() + 4);
        let letters: Vec<char> = name.chars().collect();
        for (place, c) in letters.iter().enumerate() {
            let before = place.checked_sub(1).map(|place| letters[place]);
            let after = letters.get(place + 1);
            let hump = c.is_uppercase()
                && before.is_some_and(|before| {
                    before.is_lowercase()
                        || before.is_numeric()
                        || (before.is_uppercase() && after.is_some_and(|c| c.is_lowercase()))
                });
            if hump {
                spaced.push('_');
            }
            spaced.push(*c);
        }
        let small =
            |token: &&str| !token.is_empty() && !matches!(*token, "de" | "du" | "d" | "la" | "le" | "l" | "of" | "the");
        let normal = normalize_name(&spaced);
        let tokens: Vec<String> = normal.split('_').filter(small).map(str::to_owned).collect();
        let joined = tokens.join("_");
        Self { tokens, joined }
    }

    pub(super) fn has(&self, words: &[&str]) -> bool {
        self.tokens.iter().any(|token| words.contains(&token.as_str()))
            || words.iter().any(|word| word.len() >= 5 && self.joined.contains(word))
    }
}

/// Something that a column may be about.
#[derive(Debug)]
pub(super) struct Concept {
    pub(super) name: &'static str,
    /// What it is called, as [`Names`] joins it.
    pub(super) synonyms: &'static [&'static str],
    pub(super) kind: Kind,
}

/// Types of column that can hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Any,
    Date,
    /// Anything but a date or a timestamp.
    NotDate,
}

/// Words that say whose the column is, not what it is.
const OWNERS: [&str; 14] = [
    "patient",
    "pat",
    "pt",
    "malade",
    "usager",
    "sejour",
    "sej",
    "hospitalisation",
    "hospitalization",
    "hosp",
    "encounter",
    "visit",
    "adm",
    "person",
];

impl Concept {
    pub(super) fn fits(&self, data_type: &str) -> bool {
        match self.kind {
            Kind::Any => true,
            Kind::Date => super::is_date(data_type) || super::is_text(data_type),
            Kind::NotDate => !super::is_date(data_type),
        }
    }

    /// How well a column's name says this: 1 for a synonym, less for one with an owner's word before or behind it or with
    /// a slip of the pen, 0 where it does not.
    pub(super) fn score(&self, names: &Names) -> f64 {
        let named = |text: &str| self.synonyms.contains(&text);
        if named(&names.joined) {
            return 1.0;
        }
        let run_together =
            |text: &str| self.synonyms.iter().any(|synonym| synonym.replace('_', "") == text.replace('_', ""));
        if run_together(&names.joined) {
            return 0.95;
        }
        let owner = |token: Option<&String>| token.is_some_and(|token| OWNERS.contains(&token.as_str()));
        if names.tokens.len() > 1 {
            if owner(names.tokens.first()) && named(&names.tokens[1..].join("_")) {
                return 0.9;
            }
            if owner(names.tokens.last()) && named(&names.tokens[..names.tokens.len() - 1].join("_")) {
                return 0.9;
            }
        }
        // one letter wrong, left out or exchanged in a word long enough for that to be a slip
        let slip = |synonym: &&&str| synonym.len() >= 6 && strsim::osa_distance(synonym, &names.joined) == 1;
        if self.synonyms.iter().any(|synonym| slip(&synonym)) { 0.7 } else { 0.0 }
    }
}
