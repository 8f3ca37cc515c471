//! Places of this machine that no source reads.
//!
//! Who may declare sources is not who may read everything: the folder of the server itself has its keys, its tokens and the
//! tables of the lake without masks and filters.

mod linked;

use std::{
    io,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use linked::Linked;

/// Why a path is refused, and what to do.
pub(crate) const REASON: &str = "this server keeps its own data or secrets there: put the files into another folder";

/// Folders and files that are closed to sources, whatever path leads to them. Cheap to clone; nothing is closed by default.
#[derive(Debug, Clone, Default)]
pub struct Closed {
    places: Arc<Vec<PathBuf>>,
    /// Folders within them that are open all the same.
    open: Arc<Vec<PathBuf>>,
    /// Files within them that have another name, maybe in a place that is open.
    linked: Arc<Linked>,
}

impl Closed {
    /// These folders with everything below them, and these files.
    #[must_use]
    pub fn new(places: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { places: Arc::new(both(places)), open: Arc::default(), linked: Arc::default() }
    }

    /// The same places, of which this folder is open.
    #[must_use]
    pub fn except(self, folder: PathBuf) -> Self {
        Self { open: Arc::new(both([folder])), linked: Arc::default(), ..self }
    }

    /// Whether a path without links and dots is in a closed place.
    pub(crate) fn holds(&self, path: &Path) -> bool {
        let within = |places: &[PathBuf]| places.iter().any(|place| path.starts_with(place));
        within(&self.places) && !within(&self.open)
    }

    /// Whether a file is in a closed place when links are followed, or has one of its names there (a hard link). One that is not
    /// there is in none; one that cannot be followed counts as closed. It may read the folders that are closed.
    pub(crate) fn holds_file(&self, file: &Path) -> bool {
        if self.places.is_empty() {
            return false;
        }
        match file.canonicalize() {
            Ok(path) => self.holds(&path) || self.linked.has(&path, self),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }
}

/// As they are written and as they are without links: a link may be set later, and a folder may not be there yet.
fn both(places: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for place in places {
        all.extend(place.canonicalize().ok());
        all.extend(std::path::absolute(&place).ok());
    }
    all.sort();
    all.dedup();
    all
}

/// The absolute path without `.` and `..`, and without links where it is there.
pub(crate) fn without_dots(literal: &Path) -> io::Result<PathBuf> {
    if let Ok(path) = std::fs::canonicalize(literal) {
        return Ok(path);
    }
    let mut path = PathBuf::new();
    for part in std::path::absolute(literal)?.components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            part => path.push(part),
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/srv/mavis", true)]
    #[case("/srv/mavis/lake/raw", true)]
    #[case("/srv/mavis/samples", false)]
    #[case("/srv/mavis-files", false)]
    #[case("/srv", false)]
    fn a_folder_is_closed_with_everything_below_it(#[case] folder: &str, #[case] is_closed: bool) {
        let closed = Closed::new([PathBuf::from("/srv/mavis")]).except(PathBuf::from("/srv/mavis/samples"));
        assert_eq!(closed.holds(Path::new(folder)), is_closed);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_opens_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (data, token) = (folder.path().join("data"), folder.path().join("data/admin.token"));
        std::fs::create_dir(&data).unwrap();
        std::fs::write(&token, "secret\n").unwrap();
        let link = folder.path().join("list.csv");
        std::os::unix::fs::symlink(&token, &link).unwrap();
        let closed = Closed::new([data.clone()]);
        assert!(closed.holds_file(&link) && closed.holds_file(&data.join("../data/admin.token")));
        assert!(!closed.holds_file(&folder.path().join("missing.csv")));
    }
}
