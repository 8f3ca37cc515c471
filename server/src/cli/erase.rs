use clap::Args;
use mavis_proto::v1 as pb;
use serde_json::json;

use super::{
    Failure,
    client::ClientArgs,
    output::{Format, Table},
};

/// Erases every version of a Patient and of what is in the patient's compartment, the rows that they were made from as far as
/// a mapping's key tells, quarantined rows, files of imports, bulk exports, and every older version of the tables concerned.
/// It cannot be undone. The source system is not changed: a person who is still there comes back with the next ingest.
#[derive(Debug, Args)]
pub(super) struct Erase {
    /// The id of the Patient
    patient: String,
    /// Erase resources that are in another patient's compartment too
    #[arg(long)]
    shared: bool,
    /// Finish an erasure of this patient that was interrupted: older versions of all tables go
    #[arg(long)]
    finish: bool,
    /// Do it: without this word nothing is done
    #[arg(long)]
    yes: bool,
}

impl Erase {
    pub(super) async fn run(self, client: &ClientArgs, format: Format) -> Result<(), Failure> {
        if !self.yes {
            return Err(Failure::usage("erasing cannot be undone: say --yes to do it"));
        }
        let request = pb::EraseRequest { patient: self.patient, shared_too: self.shared, finish: self.finish };
        let done = client.maintenance().await?.erase(request).await?.into_inner();
        let mut table = Table::new(["what", "name", "count"]);
        let mut sorted: Vec<(&str, String, u64)> = Vec::new();
        sorted.extend(done.resources.into_iter().map(|(name, count)| ("resources", name, count)));
        sorted.extend(done.rows.into_iter().map(|(name, count)| ("rows", name, count)));
        sorted.sort();
        for (what, count) in [("quarantined", done.quarantined), ("files", done.files), ("exports", done.exports)] {
            sorted.push((what, String::new(), count));
        }
        let kept = done.shared.into_iter().map(|name| ("kept: shared", name));
        let kept = kept.chain(done.referring.into_iter().map(|name| ("kept: refers", name)));
        let kept = kept.chain(done.unreached.into_iter().map(|name| ("not reached", name)));
        sorted.extend(kept.map(|(what, name)| (what, name, 1)));
        for (what, name, count) in sorted {
            table.push([json!(what), json!(name), json!(count)]);
        }
        table.print(format)
    }
}
