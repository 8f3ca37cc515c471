use std::{collections::BTreeMap, ops::RangeInclusive};

use arrow::ipc::{CompressionType, writer::IpcWriteOptions};
use mavis_sql::{Error, Home, Session};
use tonic::Status;

use super::{
    cookie::Kept,
    wire::{Refused, Value},
};
use crate::{flight::unwritten, grpc::status};

/// Endpoints that may be asked for.
pub(super) const ENDPOINTS: RangeInclusive<u32> = 1..=32;

const CATALOG: &str = "catalog";
const SCHEMA: &str = "schema";
const COMPRESSION: &str = "compression";
const ENDPOINTS_OPTION: &str = "endpoints";

/// How the bodies of record batches are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::flight) enum Compression {
    #[default]
    None,
    Lz4,
    Zstd,
}

impl Compression {
    pub(super) fn read(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "none" => Some(Self::None),
            "lz4" => Some(Self::Lz4),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    pub(in crate::flight) fn options(self) -> Result<IpcWriteOptions, Status> {
        let kind = match self {
            Self::None => None,
            Self::Lz4 => Some(CompressionType::LZ4_FRAME),
            Self::Zstd => Some(CompressionType::ZSTD),
        };
        IpcWriteOptions::default().try_with_compression(kind).map_err(|error| unwritten::unwritable(&error))
    }
}

/// Sets each option that can be set; answers why the others could not.
pub(super) async fn apply(
    engine: &Session,
    mut kept: Kept,
    asked: BTreeMap<String, Option<Value>>,
) -> Result<(Kept, BTreeMap<String, Refused>), Status> {
    let mut errors = BTreeMap::new();
    // `catalog` comes before `schema` in their order, so that both can be set at once.
    for (name, value) in asked {
        let set = match (name.as_str(), value) {
            (CATALOG, None) => {
                kept = kept.at(Home::default());
                Ok(())
            }
            (SCHEMA, None) => {
                let home = Home { schema: None, ..kept.home() };
                kept = kept.at(home);
                Ok(())
            }
            (COMPRESSION, None) => {
                kept.compress(None);
                Ok(())
            }
            (ENDPOINTS_OPTION, None) => {
                kept.endpoints = None;
                Ok(())
            }
            (CATALOG | SCHEMA, Some(Value::Text(text))) => match place(engine, &kept, &name, &text).await {
                Ok(home) => {
                    kept = kept.at(home);
                    Ok(())
                }
                Err(Error::Invalid { .. }) => Err(Refused::Value),
                Err(error) => return Err(status(error)),
            },
            (COMPRESSION, Some(Value::Text(text))) => match Compression::read(&text) {
                Some(compression) => {
                    kept.compress(Some(compression));
                    Ok(())
                }
                None => Err(Refused::Value),
            },
            (ENDPOINTS_OPTION, Some(value)) => match value.number().filter(|number| ENDPOINTS.contains(number)) {
                Some(number) => {
                    kept.endpoints = Some(number);
                    Ok(())
                }
                None => Err(Refused::Value),
            },
            (CATALOG | SCHEMA | COMPRESSION, Some(_)) => Err(Refused::Value),
            _ => Err(Refused::Name),
        };
        if let Err(refused) = set {
            errors.insert(name, refused);
        }
    }
    Ok((kept, errors))
}

async fn place(engine: &Session, kept: &Kept, option: &str, text: &str) -> Result<Home, Error> {
    // An empty text is how some clients unset.
    if text.is_empty() {
        let schema = None;
        return Ok(if option == CATALOG { Home::default() } else { Home { schema, ..kept.home() } });
    }
    if option == CATALOG {
        let home = engine.home_of(&[text.to_owned()]).await?;
        // A schema's name is no catalog's.
        return match &home.catalog {
            Some(catalog) if catalog == text => Ok(home),
            _ => Err(Error::Invalid { message: "no catalog of this name".to_owned(), line: None, column: None }),
        };
    }
    let catalog = kept.home().catalog.unwrap_or_else(|| DEFAULTS.0.to_owned());
    engine.home_of(&[catalog, text.to_owned()]).await
}

/// Catalog and schema of who set none.
const DEFAULTS: (&str, &str) = ("fhir", "r4");

/// Every option with its value.
pub(super) fn told(kept: &Kept) -> BTreeMap<String, Value> {
    let home = kept.home();
    let schema = match (&home.catalog, home.schema) {
        (None, None) => Some(DEFAULTS.1.to_owned()),
        (_, schema) => schema,
    };
    let mut options = BTreeMap::from([
        (CATALOG.to_owned(), Value::Text(home.catalog.unwrap_or_else(|| DEFAULTS.0.to_owned()))),
        (SCHEMA.to_owned(), Value::Text(schema.unwrap_or_default())),
        (COMPRESSION.to_owned(), Value::Text(kept.compressed().as_str().to_owned())),
    ]);
    if let Some(endpoints) = kept.endpoints {
        options.insert(ENDPOINTS_OPTION.to_owned(), Value::Integer(endpoints.into()));
    }
    options
}
