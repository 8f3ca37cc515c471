//! The outside world: sources are read into Arrow batches with a cursor.
//!
//! A connector only *reads*; the pipeline decides where records land. It knows nothing of zones, tables of the lake, or
//! FHIR mappings. Reading twice from one cursor yields the same records in the same order (as far as the source has not
//! changed), and a record that cannot be read becomes a [`ReadItem::Reject`], never a gap.
//!
//! One file or folder per system; the registry is owned by whoever starts the server, nothing is static.

mod ambient;
mod closed;
mod compression;
mod decimal;
mod error;
mod fhir_files;
pub mod fhir_server;
mod files;
mod firebird;
pub mod frame;
mod gather;
pub mod generate;
pub mod hive;
pub mod http;
mod in_place;
mod json;
mod line;
pub mod mongodb;
mod mysql;
mod objects;
mod params;
mod payload;
mod place;
pub mod postgres;
pub mod push;
mod reading;
mod registry;
mod relay;
mod route;
mod secret;
mod source;
mod sqlite;
pub mod ssh;
pub mod testkit;
mod web;

pub use ambient::Ambient;
pub use closed::Closed;
pub use error::{Error, Stage};
pub use fhir_files::{FhirFiles, FhirFilesParams};
pub use files::{FileFormat, Files, FilesParams};
pub use firebird::{Deletions, Firebird, FirebirdParams};
pub use in_place::{InPlace, InPlaceFile};
pub use mysql::{Mariadb, Mysql, MysqlParams, SslMode, ZeroDates};
pub use params::SourceSpec;
pub use registry::{Registry, SourceKind};
pub use secret::{AppRoleSecret, Secret, SecretWord, Secrets, VaultLogin, VaultOptions};
pub use source::{
    Discovery, ForeignKey, LogHealth, ReadItem, ReadMode, ReadRequest, ReadStream, Selection, Settled, Source,
    SourceColumn, SourceTable, StageOutcome, StageReport, TableKind, TableRef,
};
pub use sqlite::{Sqlite, SqliteParams};
pub use web::{Auth, SigningAlgorithm};
