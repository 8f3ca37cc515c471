//! Places of this machine that no source reads.
//!
//! Who may declare sources is not who may read everything: the folder of the server itself has its keys, its tokens and the
//! tables of the lake without masks and filters.

use std::{
    io,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use globset::GlobBuilder;

/// Why a path is refused, and what to do.
pub(crate) const REASON: &str = "this server keeps its own data or secrets there: put the files into another folder";

/// Folders and files that are closed to sources, whatever path leads to them. Cheap to clone; nothing is closed by default.
#[derive(Debug, Clone, Default)]
pub struct Closed {
    places: Arc<Vec<PathBuf>>,
    /// Folders within them that are open all the same.
    open: Arc<Vec<PathBuf>>,
}

impl Closed {
    /// These folders with everything below them, and these files.
    #[must_use]
    pub fn new(places: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { places: Arc::new(both(places)), open: Arc::default() }
    }

    /// The same places, of which this folder is open.
    #[must_use]
    pub fn except(self, folder: PathBuf) -> Self {
        Self { open: Arc::new(both([folder])), ..self }
    }

    /// Whether a path without links and dots is in a closed place.
    pub(crate) fn holds(&self, path: &Path) -> bool {
        let within = |places: &[PathBuf]| places.iter().any(|place| path.starts_with(place));
        within(&self.places) && !within(&self.open)
    }

    /// Whether a folder, or what a pattern below it may find, reaches a closed place.
    pub(crate) fn is_reached(&self, folder: &Path, pattern: Option<&str>) -> bool {
        self.holds(folder)
            || self.places.iter().any(|place| match (place.strip_prefix(folder), pattern) {
                (Err(_), _) => false,
                (Ok(_), None) => true,
                (Ok(rest), Some(pattern)) => reaches(pattern, rest),
            })
    }

    /// Whether a file is in a closed place when links are followed. One that is not there is in none; one that cannot be
    /// followed counts as closed.
    pub(crate) fn holds_file(&self, file: &Path) -> bool {
        if self.places.is_empty() {
            return false;
        }
        match file.canonicalize() {
            Ok(path) => self.holds(&path),
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

/// Whether a pattern may find what is in a folder, whose path from where the pattern begins this is. Says no where a part is
/// no pattern of its own: what is found is looked at too.
fn reaches(pattern: &str, folder: &Path) -> bool {
    if pattern.contains("**") {
        return true;
    }
    let parts: Vec<&str> = pattern.split('/').collect();
    let folders: Vec<Component<'_>> = folder.components().collect();
    parts.len() > folders.len()
        && parts.iter().zip(folders).all(|(part, folder)| {
            GlobBuilder::new(part).build().is_ok_and(|glob| glob.compile_matcher().is_match(folder.as_os_str()))
        })
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
    #[case("/srv/mavis", None, true)]
    #[case("/srv/mavis/lake/raw", Some("*.parquet"), true)]
    #[case("/srv/mavis/samples", None, false)]
    #[case("/srv/mavis-files", None, false)]
    #[case("/srv", None, true)]
    #[case("/srv", Some("*.csv"), false)]
    #[case("/srv", Some("*/*.token"), true)]
    #[case("/srv", Some("m*/lake/*"), true)]
    #[case("/srv", Some("other*/*.csv"), false)]
    #[case("/srv", Some("**/*.csv"), true)]
    #[case("/home", Some("**/*.csv"), false)]
    fn a_folder_above_a_closed_one_is_open_where_its_pattern_does_not_lead_there(
        #[case] folder: &str,
        #[case] pattern: Option<&str>,
        #[case] is_reached: bool,
    ) {
        let closed = Closed::new([PathBuf::from("/srv/mavis")]).except(PathBuf::from("/srv/mavis/samples"));
        assert_eq!(closed.is_reached(Path::new(folder), pattern), is_reached);
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
