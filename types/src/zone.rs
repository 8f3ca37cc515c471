use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::NameError;

/// A zone of the lake; in SQL it is a catalog of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Zone {
    /// The source's tables as the source has them.
    Raw,
    /// The same tables cleaned and normalised.
    Processed,
    /// FHIR R4 resources, current and history.
    Fhir,
    /// Tables that analysts make for themselves.
    Work,
}

impl Zone {
    /// Every zone, in the order in which data flows.
    pub const ALL: [Zone; 4] = [Zone::Raw, Zone::Processed, Zone::Fhir, Zone::Work];

    /// The name used in SQL, in folders and in the catalog.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Zone::Raw => "raw",
            Zone::Processed => "processed",
            Zone::Fhir => "fhir",
            Zone::Work => "work",
        }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Zone {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Zone::ALL
            .into_iter()
            .find(|zone| zone.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| NameError::UnknownZone { zone: text.to_owned() })
    }
}
