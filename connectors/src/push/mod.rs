//! Tables whose rows are brought: a client sends Arrow batches, and the server reads them from an inbox of its own.
//!
//! An upload is a file of the inbox, numbered when it is whole and on the disk; numbers of a table only grow. A reading goes
//! through the files after its cursor, which is the number of the last file that was committed. So an upload lands like the
//! rows of any other source: once, through the same commit, retried after a crash. A file is deleted when a cursor has
//! passed it.

mod inbox;
mod read;
mod waiting;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

pub use inbox::{Inbox, Taken};

use crate::{
    Ambient, Discovery, Error, ReadRequest, ReadStream, Selection, Source, SourceKind, Stage, StageOutcome,
    StageReport, source::BoxedSource,
};

/// Parameters of the kind `push`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PushParams {
    /// The tables that may be sent; any where none is named.
    #[serde(default)]
    pub tables: BTreeMap<String, PushedTable>,
}

/// What is declared of a table that is sent.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PushedTable {
    /// A row replaces the earlier one of the same key. Without a key every row is a new one.
    #[serde(default)]
    pub key: Vec<String>,
}

/// The kind `push`.
#[derive(Debug)]
pub struct Push;

impl SourceKind for Push {
    const NAME: &'static str = "push";
    const SUMMARY: &'static str = "tables that clients send over Flight SQL (bulk ingest into `raw`)";
    type Params = PushParams;

    /// Checks the declaration; what reads is [`Inbox`], which needs a folder.
    fn connect(_: &str, _: PushParams, _: &Ambient) -> Result<BoxedSource, Error> {
        Ok(Arc::new(Declared))
    }
}

/// A source without its inbox.
#[derive(Debug)]
struct Declared;

fn without_inbox() -> Error {
    Error::Unsupported {
        what: "reading a source of kind `push` from here".to_owned(),
        instead: "its rows are in the inbox of the server that took them".to_owned(),
    }
}

#[async_trait]
impl Source for Declared {
    async fn check(&self) -> Vec<StageReport> {
        vec![StageReport {
            stage: Stage::Read,
            outcome: StageOutcome::Skipped,
            message: "nothing is connected to: clients send the rows".to_owned(),
            millis: 0,
        }]
    }

    async fn discover(&self, _: &Selection) -> Result<Discovery, Error> {
        Err(without_inbox())
    }

    async fn read(&self, _: ReadRequest) -> Result<ReadStream, Error> {
        Err(without_inbox())
    }
}
