//! Trees of files that become tables of the raw zone where they lie: what the source tells of them goes to the lake, which
//! names them in a log of its own.

use std::sync::Arc;

use async_trait::async_trait;
use mavis_catalog::Catalog;
use mavis_connectors::{InPlace, Registry, Secrets};
use mavis_lake::{
    AppId,
    in_place::{Elsewhere, ForeignStore, InPlaceSpec, Missing, TakenOver, Tree, TreeFile},
};
use mavis_types::{Counts, SourceId, normalize_name};

use crate::{
    context::{Context, Running},
    discover,
    failure::Failure,
    job,
    to_raw::{Columns, ToRaw},
};

/// Finds the stores of files by the declarations of their sources, also of those that were removed.
#[derive(Debug)]
struct Declared {
    catalog: Catalog,
    registry: Registry,
    secrets: Secrets,
}

#[async_trait]
impl Elsewhere for Declared {
    async fn store(&self, source: SourceId, authority: &str) -> Result<ForeignStore, String> {
        let source = self.catalog.source_by_id(source).await.map_err(|error| error.to_string())?;
        let connected = self.registry.connect(&job::spec(&source), &self.secrets).map_err(|error| error.to_string())?;
        connected.store_in_place(authority).map_err(|error| error.to_string())
    }
}

/// Lets the lake ask the declarations of sources for the stores of their files.
pub(crate) fn find_elsewhere(context: &Context) {
    context.lake.find_elsewhere(Arc::new(Declared {
        catalog: context.catalog.clone(),
        registry: context.registry.clone(),
        secrets: context.secrets.clone(),
    }));
}

/// Makes a raw table of the files of a tree, or brings it up to what the tree is now.
pub(crate) async fn take_over(
    running: &Running,
    job: &ToRaw<'_>,
    app: &AppId,
    tree: InPlace,
) -> Result<Counts, Failure> {
    let columns = Columns::of(job.table);
    let lake_name = |name: &str| {
        let known = columns.fields.iter().find(|(source, _)| source.eq_ignore_ascii_case(name));
        known.map_or_else(|| normalize_name(name), |(_, field)| field.name().clone())
    };
    let spec = InPlaceSpec {
        table: discover::raw_table(job.source, job.table),
        names: columns.fields.iter().map(|(name, field)| (name.clone(), field.name().clone())).collect(),
        held: job.table.held_columns.clone(),
        columns: columns.for_catalog(job.table),
        declared: columns.fields.iter().map(|(_, field)| (field.name().clone(), field.data_type().clone())).collect(),
        source: job.source.name.to_string(),
    };
    let folders = tree.folders.iter().map(|(name, data_type)| (lake_name(name), data_type.clone())).collect();
    let files = tree.files.into_iter().map(|file| TreeFile {
        name: file.name,
        path: file.path,
        bytes: file.bytes,
        modified: file.modified,
        stamp: file.stamp,
        values: file.values,
    });
    let tree = Tree {
        authority: tree.authority,
        store: tree.store,
        root: tree.root,
        files: files.collect(),
        folders,
        missing: if tree.removes_missing { Missing::Remove } else { Missing::Refuse },
    };
    let taken = running.lake().take_over(&spec, app, running.id, &tree).await?;
    tell(running, &job.table.table.to_string(), &taken).await;
    Ok(taken.counts)
}

async fn tell(running: &Running, table: &str, taken: &TakenOver) {
    let TakenOver { files_new, files_changed, files_gone, files_kept, .. } = taken;
    if *files_new > 0 {
        running.info(format!("`{table}`: {files_new} files taken over where they lie")).await;
    }
    if *files_changed > 0 {
        running.info(format!("`{table}`: {files_changed} files were changed by their owner; as they are now")).await;
    }
    if *files_gone > 0 {
        let rows = taken.counts.deleted;
        running.warn(format!("`{table}`: {files_gone} files are gone; {rows} rows left the table with files")).await;
    }
    if *files_kept > 0 {
        running
            .info(format!(
                "`{table}`: {files_kept} files that rows were erased from are gone; what was left of them stays"
            ))
            .await;
    }
}
