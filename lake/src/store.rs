//! Where the tables live: any `object_store` URL; on the local disk every commit is fsynced before it is answered.

use std::{collections::HashMap, path::PathBuf};

use url::Url;

/// Where the lake is and what it may use.
#[derive(Debug, Clone)]
pub struct LakeOptions {
    /// Root of the lake: `file:///...`, `s3://bucket/prefix`, `abfss://`, `gs://`.
    pub url: Url,
    /// Options for the store, as `object_store` names them (`aws_endpoint`, `aws_access_key_id`, ...).
    pub storage: HashMap<String, String>,
    /// Memory that queries and merges together may use, in bytes.
    pub memory_bytes: usize,
    /// Where operators spill; a local folder.
    pub spill_dir: PathBuf,
    /// Partitions of a plan; the number of cores.
    pub partitions: usize,
    /// Prefix of the holder names of this server's leases.
    pub server: String,
}
