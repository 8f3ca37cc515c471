//! Files of FHIR resources that a person hands over: Bundles, NDJSON, single resources, plain or compressed.
//!
//! The files of an import are one set. They are kept as received in the spool, which is their archive, and land straight
//! in the FHIR zone: its history holds each resource's JSON, so that a raw and a processed copy would say nothing more.
//! The table `raw.<source>.files` lists them, and what of them could not be read waits in its quarantine.
//!
//! A set is read twice, so that memory holds an index and not the resources: the first pass finds out what has which id and
//! identifier ([`index`]); then every reference between entries is resolved ([`resolve`]): `urn:uuid:` of any file of the
//! set, conditional ones (`Practitioner?identifier=system|value`) within the set and in the lake, `ifNoneExist` too; the
//! second pass writes ([`land`]). An entry whose conditional reference matches nothing, or more than one resource, fails
//! (R4, "Conditional references"): it goes to quarantine, alone, not with its whole Bundle.
//!
//! A file that an earlier import has finished with is not read again ([`listing`]), unless another file's reference leads
//! into it: then its first pass is made again, for its names alone.

mod document;
mod fetch;
mod index;
mod land;
mod listing;
mod resolve;
mod spool;
mod work;

/// Kind of the sources that imports make; nothing connects to them.
pub(crate) const IMPORT_KIND: &str = "import";

pub(crate) use document::open as open_file;
pub(crate) use fetch::{check as check_fetched, fetch};
pub(crate) use land::import;
pub(crate) use listing::finished;
pub(crate) use spool::Spool;
