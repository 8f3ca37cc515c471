//! The data folder: what is in it, and that only one server uses it.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions, TryLockError},
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use url::Url;
use uuid::Uuid;

use crate::config::{Config, Secret};

/// The local folder of one server, locked while it lives.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    lake: Url,
    catalog: Secret,
    /// What the catalog is called where lakes are kept apart by it, without a password.
    catalog_name: String,
    _lock: File,
}

/// Where a server keeps its data when it is not told: `mavis` in the user's data folder.
#[must_use]
pub fn default_root() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_DATA_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".local/share")))
        .unwrap_or_else(std::env::temp_dir)
        .join("mavis")
}

/// The catalog database in the data folder.
const CATALOG: &str = "catalog.sqlite";

/// File in the data folder that says which lake each catalog is of.
const LAKES: &str = "lakes.json";

/// File in the data folder that holds the first admin token.
pub const TOKEN_FILE: &str = "admin.token";

impl DataDir {
    /// Makes the folder and its parts, and locks it.
    ///
    /// # Errors
    /// When another server uses the folder, when it cannot be written, or when `data` is neither a folder nor a URL that
    /// the lake can be on.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        let (root, lake) = places(config)?;
        fs::create_dir_all(&root).with_context(|| format!("cannot make the data folder {}", root.display()))?;
        let root = root.canonicalize().with_context(|| format!("cannot find the data folder {}", root.display()))?;
        close_to_others(&root)?;
        let lock = lock(&root)?;
        for part in ["lake", "spool", "tmp"] {
            let folder = root.join(part);
            fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let lake = match lake {
            Some(url) => url,
            None => Url::from_directory_path(root.join("lake"))
                .map_err(|()| anyhow::anyhow!("the data folder {} cannot be written as a URL", root.display()))?,
        };
        let catalog_name = config.catalog.url.as_ref().map_or_else(|| CATALOG.to_owned(), nameable);
        let catalog = config
            .catalog
            .url
            .clone()
            .unwrap_or_else(|| Secret::new(format!("sqlite://{}", root.join(CATALOG).display())));
        let data = Self { root, lake, catalog, catalog_name, _lock: lock };
        data.refuse_another_lake()?;
        Ok(data)
    }

    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    #[must_use]
    pub fn lake(&self) -> &Url {
        &self.lake
    }

    #[must_use]
    pub fn catalog(&self) -> &Secret {
        &self.catalog
    }

    /// A catalog knows one lake: its tables' versions and cursors mean nothing in another one.
    fn refuse_another_lake(&self) -> anyhow::Result<()> {
        let Some(known) = self.lakes()?.remove(&self.catalog_name) else { return Ok(()) };
        if known == self.lake_name() {
            return Ok(());
        }
        bail!(
            "the catalog `{}` of {} belongs to the lake `{known}`, not to `{}`: give this lake a state_dir (MAVIS_STATE_DIR) \
             and a catalog of its own; if it is the same lake at another place, correct {}",
            self.catalog_name,
            self.root.display(),
            self.lake_name(),
            self.root.join(LAKES).display(),
        )
    }

    /// Remembers which lake the catalog is of; called when the lake could be opened.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn keep_lake(&self) -> anyhow::Result<()> {
        let mut lakes = self.lakes()?;
        let name = self.lake_name();
        if lakes.insert(self.catalog_name.clone(), name.clone()).is_some_and(|known| known == name) {
            return Ok(());
        }
        write_private(&self.root.join(LAKES), &serde_json::to_string_pretty(&lakes)?)
    }

    fn lakes(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let path = self.root.join(LAKES);
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// The lake's URL; `lake` for the one in this folder, so that the folder can be moved.
    fn lake_name(&self) -> String {
        match Url::from_directory_path(self.root.join("lake")) {
            Ok(own) if own.as_str().trim_end_matches('/') == self.lake.as_str().trim_end_matches('/') => {
                "lake".to_owned()
            }
            _ => self.lake.as_str().trim_end_matches('/').to_owned(),
        }
    }

    /// Uploaded files wait here.
    #[must_use]
    pub fn spool(&self) -> PathBuf {
        self.root.join("spool")
    }

    /// Operators spill here; emptied at start.
    ///
    /// # Errors
    /// When it cannot be emptied.
    pub fn empty_tmp(&self) -> anyhow::Result<PathBuf> {
        let tmp = self.root.join("tmp");
        fs::remove_dir_all(&tmp).with_context(|| format!("cannot empty {}", tmp.display()))?;
        fs::create_dir_all(&tmp).with_context(|| format!("cannot make {}", tmp.display()))?;
        Ok(tmp)
    }

    #[must_use]
    pub fn token_file(&self) -> PathBuf {
        self.root.join(TOKEN_FILE)
    }

    /// The name under which this folder's server holds leases; it stays over restarts, so that a server finds its own.
    ///
    /// # Errors
    /// When the file cannot be read or made.
    pub fn server_name(&self) -> anyhow::Result<String> {
        let file = self.root.join("server.id");
        if let Ok(text) = fs::read_to_string(&file)
            && let Ok(id) = text.trim().parse::<Uuid>()
        {
            return Ok(format!("server-{id}"));
        }
        let id = Uuid::new_v4();
        write_private(&file, &id.to_string())?;
        Ok(format!("server-{id}"))
    }

    /// The key that signs what clients carry back; made at the first start.
    ///
    /// # Errors
    /// When the file cannot be read or made.
    pub fn signing_key(&self) -> anyhow::Result<[u8; 32]> {
        let file = self.root.join("signing.key");
        if let Ok(text) = fs::read_to_string(&file) {
            let mut key = [0; 32];
            if hex::decode_to_slice(text.trim(), &mut key).is_ok() {
                return Ok(key);
            }
        }
        let mut key = [0; 32];
        rand::Rng::fill(&mut rand::rng(), &mut key[..]);
        write_private(&file, &hex::encode(key))?;
        Ok(key)
    }

    /// The key of the hashes that are shown in the place of masked values, made from the other one.
    ///
    /// # Errors
    /// As [`DataDir::signing_key`].
    pub fn mask_key(&self) -> anyhow::Result<[u8; 32]> {
        let mut derived = Hmac::<Sha256>::new_from_slice(&self.signing_key()?)?;
        derived.update(b"masked values");
        Ok(derived.finalize().into_bytes().into())
    }
}

/// A catalog's URL without user, password and options.
fn nameable(url: &Secret) -> String {
    let Ok(mut url) = Url::parse(url.expose()) else { return "configured".to_owned() };
    url.set_query(None);
    // A URL without a host has no place for them.
    if url.set_password(None).is_err() || url.set_username("").is_err() {
        return format!("{}:{}", url.scheme(), url.path());
    }
    url.to_string()
}

/// The local folder and, where it is not inside that folder, the lake's root.
fn places(config: &Config) -> anyhow::Result<(PathBuf, Option<Url>)> {
    let data = config.data.as_deref();
    let url = data.filter(|data| data.contains("://"));
    let Some(url) = url else {
        let root = data.map_or_else(|| config.state_dir.clone().unwrap_or_else(default_root), PathBuf::from);
        return Ok((root, config.lake.url.clone()));
    };
    let url = Url::parse(url).with_context(|| format!("`{url}` is neither a folder nor a URL"))?;
    if url.scheme() == "file" {
        let Ok(root) = url.to_file_path() else { bail!("`{url}` is not a folder of this machine") };
        return Ok((root, config.lake.url.clone()));
    }
    if config.lake.url.is_some() {
        bail!("both data ({url}) and lake.url say where the lake is: leave one out");
    }
    Ok((config.state_dir.clone().unwrap_or_else(default_root), Some(url)))
}

fn lock(root: &Path) -> anyhow::Result<File> {
    let path = root.join("mavis.lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot write in the data folder {}", root.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another server uses the data folder {}: stop it, or take another folder with --data", root.display())
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock the data folder {}", root.display()))
        }
    }
}

/// The folder holds patient data: nobody but its owner enters.
fn close_to_others(root: &Path) -> anyhow::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(root, fs::Permissions::from_mode(0o700))
            .with_context(|| format!("cannot close the data folder {} to other users", root.display()))?;
    }
    Ok(())
}

/// Writes a file that only its owner can read (mode 0600), whole or not at all.
///
/// # Errors
/// When the folder cannot be written.
pub fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let place = || format!("cannot write {}", path.display());
    let part = path.with_extension("part");
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(&part).with_context(place)?;
    writeln!(file, "{text}").and_then(|()| file.sync_all()).with_context(place)?;
    fs::rename(&part, path).with_context(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(data: &str) -> Config {
        Config { data: Some(data.to_owned()), ..Config::default() }
    }

    #[test]
    fn a_second_server_on_the_same_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let config = at(folder.path().to_str().unwrap());
        let first = DataDir::open(&config).unwrap();
        let error = DataDir::open(&config).unwrap_err().to_string();
        assert!(error.contains("another server uses the data folder"), "{error}");
        drop(first);
        DataDir::open(&config).unwrap();
    }

    #[test]
    fn keys_and_names_survive_a_restart_and_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(&at(folder.path().to_str().unwrap())).unwrap();
        assert_eq!(data.signing_key().unwrap(), data.signing_key().unwrap());
        assert_eq!(data.server_name().unwrap(), data.server_name().unwrap());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(data.root().join("signing.key")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_lake_on_an_object_store_keeps_its_state_in_the_local_folder() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { state_dir: Some(folder.path().to_owned()), ..at("s3://bucket/lake") };
        let data = DataDir::open(&config).unwrap();
        assert_eq!(data.lake().as_str(), "s3://bucket/lake");
        assert!(data.catalog().expose().ends_with("/catalog.sqlite"));
        assert!(data.spool().starts_with(folder.path().canonicalize().unwrap()));
    }

    #[test]
    fn a_catalog_is_of_one_lake() {
        let folder = tempfile::tempdir().unwrap();
        let of = |data: &str, catalog: Option<&str>| Config {
            state_dir: Some(folder.path().to_owned()),
            catalog: crate::config::CatalogConfig { url: catalog.map(Secret::new) },
            ..at(data)
        };
        let open = |data: &str, catalog: Option<&str>| DataDir::open(&of(data, catalog));
        // What was never opened does not stay: a wrong bucket can be corrected.
        drop(open("s3://wrong/lake", None).unwrap());
        open("s3://bucket/one", None).unwrap().keep_lake().unwrap();
        drop(open("s3://bucket/one/", None).unwrap());
        let error = open("s3://bucket/two", None).unwrap_err().to_string();
        assert!(error.contains("s3://bucket/one") && error.contains("state_dir"), "{error}");
        let postgres = "postgres://mavis:tiger@db:5432/two";
        open("s3://bucket/two", Some(postgres)).unwrap().keep_lake().unwrap();
        let error = open("s3://bucket/one", Some(postgres)).unwrap_err().to_string();
        assert!(error.contains("db:5432/two") && !error.contains("tiger"), "{error}");
        assert!(!fs::read_to_string(folder.path().join(LAKES)).unwrap().contains("tiger"));
        open("s3://bucket/one", None).unwrap();
    }

    #[test]
    fn a_data_folder_can_be_moved() {
        let folder = tempfile::tempdir().unwrap();
        let (before, after) = (folder.path().join("a"), folder.path().join("b"));
        DataDir::open(&at(before.to_str().unwrap())).unwrap().keep_lake().unwrap();
        fs::rename(before, &after).unwrap();
        DataDir::open(&at(after.to_str().unwrap())).unwrap();
    }
}
