use chrono::{Days, NaiveDate};
use rand::{Rng, rngs::StdRng, seq::IndexedRandom};

const FAMILIES: [&str; 60] = [
    "Martin",
    "Bernard",
    "Dubois",
    "Thomas",
    "Robert",
    "Richard",
    "Petit",
    "Durand",
    "Leroy",
    "Moreau",
    "Simon",
    "Laurent",
    "Lefebvre",
    "Michel",
    "Garcia",
    "David",
    "Bertrand",
    "Roux",
    "Vincent",
    "Fournier",
    "Morel",
    "Girard",
    "André",
    "Lefèvre",
    "Mercier",
    "Dupont",
    "Lambert",
    "Bonnet",
    "François",
    "Martinez",
    "Legrand",
    "Garnier",
    "Faure",
    "Rousseau",
    "Blanc",
    "Guérin",
    "Müller",
    "Henry",
    "Roussel",
    "Nicolas",
    "Perrin",
    "Morin",
    "Mathieu",
    "Clément",
    "Gauthier",
    "Dumont",
    "Lopez",
    "Fontaine",
    "Chevalier",
    "Robin",
    "Masson",
    "Sanchez",
    "Gérard",
    "N'Guyen",
    "Boyer",
    "Denis",
    "Lemaire",
    "Duval",
    "Joly",
    "Le Gall",
];
const WOMEN: [&str; 24] = [
    "Marie",
    "Jeanne",
    "Françoise",
    "Monique",
    "Catherine",
    "Nathalie",
    "Isabelle",
    "Sylvie",
    "Anne",
    "Martine",
    "Nicole",
    "Camille",
    "Léa",
    "Chloé",
    "Emma",
    "Inès",
    "Fatima",
    "Aïcha",
    "Zoé",
    "Élodie",
    "Hélène",
    "Noémie",
    "Lucie",
    "Nadia",
];
const MEN: [&str; 24] = [
    "Jean", "Pierre", "Michel", "André", "Philippe", "René", "Louis", "Alain", "Jacques", "Bernard", "Marcel",
    "Daniel", "Lucas", "Hugo", "Léo", "Gabriel", "Mohamed", "Youssef", "Étienne", "Jérôme", "Benoît", "Loïc", "Théo",
    "Karim",
];
const CITIES: [(&str, &str); 12] = [
    ("Lyon", "69003"),
    ("Villeurbanne", "69100"),
    ("Saint-Étienne", "42000"),
    ("Grenoble", "38000"),
    ("Valence", "26000"),
    ("Chambéry", "73000"),
    ("Annecy", "74000"),
    ("Bourg-en-Bresse", "01000"),
    ("Roanne", "42300"),
    ("Vienne", "38200"),
    ("Mâcon", "71000"),
    ("Clermont-Ferrand", "63000"),
];
const STREETS: [&str; 8] = [
    "rue de la République",
    "avenue Jean Jaurès",
    "place Bellecour",
    "rue des Lilas",
    "chemin du Moulin",
    "boulevard Gambetta",
    "impasse des Écoles",
    "rue Pasteur",
];

/// Somebody who does not exist.
#[derive(Debug, Clone)]
pub(super) struct Person {
    pub(super) family: &'static str,
    pub(super) given: &'static str,
    pub(super) woman: bool,
    pub(super) born: NaiveDate,
    pub(super) city: &'static str,
    pub(super) postcode: &'static str,
    pub(super) address: String,
    pub(super) phone: String,
}

pub(super) fn pick<T: Copy>(rng: &mut StdRng, from: &[T], fallback: T) -> T {
    from.choose(rng).copied().unwrap_or(fallback)
}

pub(super) fn person(rng: &mut StdRng) -> Person {
    let woman = rng.random_bool(0.52);
    let (city, postcode) = pick(rng, &CITIES, CITIES[0]);
    Person {
        family: pick(rng, &FAMILIES, "Martin"),
        given: if woman { pick(rng, &WOMEN, "Marie") } else { pick(rng, &MEN, "Jean") },
        woman,
        born: day(rng, 1925, 2023),
        city,
        postcode,
        address: format!("{} {}", rng.random_range(1..140), pick(rng, &STREETS, "rue Pasteur")),
        phone: format!("06{:08}", rng.random_range(0..100_000_000)),
    }
}

/// A day of the years from `first` up to and without `last`.
pub(super) fn day(rng: &mut StdRng, first: i32, last: i32) -> NaiveDate {
    let start = NaiveDate::from_ymd_opt(first, 1, 1).unwrap_or_default();
    let days = u64::try_from(last - first).unwrap_or(1) * 365;
    start.checked_add_days(Days::new(rng.random_range(0..days))).unwrap_or(start)
}

/// The same text as somebody in a hurry types it: spaces around it, now and then capitals.
pub(super) fn hurried(rng: &mut StdRng, text: &str) -> String {
    match rng.random_range(0..20) {
        0 => format!(" {text}"),
        1 => format!("{text}  "),
        2 => text.to_uppercase(),
        _ => text.to_owned(),
    }
}

/// One of the texts that stand for no value, in some of the cases; otherwise the value.
pub(super) fn or_nothing(rng: &mut StdRng, share: f64, value: String) -> Option<String> {
    if !rng.random_bool(share) {
        return Some(value);
    }
    pick(rng, &[None, Some("N/A"), Some("-"), Some(""), Some("NULL")], None).map(str::to_owned)
}

/// A date in one of the notations that such files mix.
pub(super) fn mixed_date(rng: &mut StdRng, day: NaiveDate) -> String {
    let format = match rng.random_range(0..10) {
        0..=5 => "%d/%m/%Y",
        6..=8 => "%Y-%m-%d",
        _ => "%d-%m-%Y",
    };
    day.format(format).to_string()
}
