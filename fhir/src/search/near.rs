//! `Location?near=` (section "Location", search parameter `near`): places within a distance of a point.

use super::{decimal::Decimal, value::split};

/// Kilometres where the request names no distance.
const DISTANCE_KM: f64 = 50.0;

/// What rounding may add to a distance: a millimetre.
const ROUNDING_KM: f64 = 1e-6;

/// Mean radius of the earth in kilometres.
const EARTH_KM: f64 = 6_371.008_8;

/// A circle on the globe. Two are equal where they were written alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Near {
    latitude: Decimal,
    longitude: Decimal,
    /// In the unit; `None`: [`DISTANCE_KM`].
    distance: Option<Decimal>,
    /// Length of the unit in millimetres.
    unit: u32,
}

impl Near {
    /// Reads `latitude|longitude|distance|unit`; the unit is UCUM and kilometres where it is left out, as R4 says.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let parts = split(text, '|');
        let (latitude, longitude, distance, unit) = match *parts.as_slice() {
            [latitude, longitude] => (latitude, longitude, "", ""),
            [latitude, longitude, distance] => (latitude, longitude, distance, ""),
            [latitude, longitude, distance, unit] => (latitude, longitude, distance, unit),
            _ => return Err("a place is written `latitude|longitude|distance|unit`".to_owned()),
        };
        let degrees = |text: &str, limit: i64, what: &str| {
            let number = Decimal::parse(text)
                .filter(|number| *number >= Decimal::from_integer(-limit) && *number <= Decimal::from_integer(limit));
            number.ok_or_else(|| format!("the {what} is a number of degrees from -{limit} to {limit}"))
        };
        let distance = match distance {
            "" => None,
            text => Some(
                Decimal::parse(text)
                    .filter(|number| *number >= Decimal::from_integer(0))
                    .ok_or("the distance is a number from 0")?,
            ),
        };
        let unit = match unit {
            "" | "km" => 1_000_000,
            "m" => 1_000,
            "cm" => 10,
            "[mi_i]" | "[mi_us]" => 1_609_344,
            "[nmi_i]" => 1_852_000,
            "[yd_i]" => 914,
            _ => return Err("the unit of the distance is one of km, m, [mi_i], [nmi_i]".to_owned()),
        };
        Ok(Self {
            latitude: degrees(latitude, 90, "latitude")?,
            longitude: degrees(longitude, 180, "longitude")?,
            distance,
            unit,
        })
    }

    /// Whether a point is not farther than the distance, on the great circle.
    pub(super) fn covers(&self, latitude: f64, longitude: f64) -> bool {
        let limit = match &self.distance {
            Some(distance) => distance.approximately() * f64::from(self.unit) / 1e6,
            None => DISTANCE_KM,
        };
        let (from, to) = (self.latitude.approximately().to_radians(), latitude.to_radians());
        let across = (longitude - self.longitude.approximately()).to_radians();
        let half = ((to - from) / 2.0).sin().powi(2) + from.cos() * to.cos() * (across / 2.0).sin().powi(2);
        2.0 * EARTH_KM * half.sqrt().min(1.0).asin() <= limit + ROUNDING_KM
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use rstest::rstest;

    use super::*;

    // Paris to London is 343.6 km, to Lyon 391.5 km; the date line divides what is 222 km apart
    #[rstest]
    #[case("48.8566|2.3522|344|km", 51.5074, -0.1278, true)]
    #[case("48.8566|2.3522|343|km", 51.5074, -0.1278, false)]
    #[case("48.8566|2.3522|344000|m", 51.5074, -0.1278, true)]
    #[case("48.8566|2.3522|214|[mi_i]", 51.5074, -0.1278, true)]
    #[case("48.8566|2.3522|213|[mi_i]", 51.5074, -0.1278, false)]
    #[case("48.8566|2.3522|392", 45.7640, 4.8357, true)]
    #[case("48.8566|2.3522|391", 45.7640, 4.8357, false)]
    #[case("0|179|223", 0.0, -179.0, true)]
    #[case("0|179|222", 0.0, -179.0, false)]
    #[case("48.8566|2.3522", 48.9, 2.4, true)]
    #[case("48.8566|2.3522|0", 48.8566, 2.3522, true)]
    fn a_place_is_near_by_the_great_circle(
        #[case] near: &str,
        #[case] latitude: f64,
        #[case] longitude: f64,
        #[case] covered: bool,
    ) {
        assert_eq!(Near::parse(near).unwrap().covers(latitude, longitude), covered);
    }

    #[rstest]
    #[case("48.8")]
    #[case("a|b|1|km")]
    #[case("91|0|1|km")]
    #[case("0|181|1|km")]
    #[case("0|0|-1|km")]
    #[case("0|0|1|parsec")]
    #[case("0|0|1|km|x")]
    fn what_is_no_place_is_refused(#[case] near: &str) {
        assert!(Near::parse(near).is_err());
    }
}
