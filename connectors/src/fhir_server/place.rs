//! How far a type is: by `lastUpdated`, or by the time of an export.

use mavis_types::Cursor;

use super::FhirServerParams;
use crate::{
    Error,
    http::{Incremental, since::Since},
};

/// How a search is read on.
pub(super) fn by_last_updated(params: &FhirServerParams) -> Incremental {
    Incremental {
        parameter: "_lastUpdated".to_owned(),
        carrier: Default::default(),
        column: Some("meta.lastUpdated".to_owned()),
        answer: None,
        initial: None,
        overlap_seconds: params.overlap_seconds,
        sorted: params.sorted,
    }
}

/// How an export is read on: by the server's own time of the last one.
pub(super) fn by_transaction_time() -> Incremental {
    Incremental {
        parameter: "_since".to_owned(),
        carrier: Default::default(),
        column: None,
        answer: Some("transactionTime".to_owned()),
        initial: None,
        overlap_seconds: 0,
        sorted: false,
    }
}

pub(super) fn since<'a>(declared: &'a Incremental, from: Option<&Cursor>, kind: &str) -> Result<Since<'a>, Error> {
    Since::new(declared, from, kind)
}
