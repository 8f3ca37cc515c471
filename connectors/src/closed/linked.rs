//! Hard links: one file with several names, of which each is as true as the others. Only the number of the file tells.

use std::{
    collections::HashSet,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::Closed;

/// How long it is known which files of the closed folders have other names, at least: no shorter than it took to find out.
const KNOWN: Duration = Duration::from_secs(60);
/// The same for files whose time of change says nothing, see [`AHEAD`]: not one look for each of them.
const KNOWN_AHEAD: Duration = Duration::from_secs(5);
/// A change further in the future is one by another clock.
const AHEAD: Duration = Duration::from_secs(60);
/// Clocks of file systems go in steps.
const STEP: Duration = Duration::from_secs(2);

/// Files of closed places that have more than one name, as the last look at them found them.
#[derive(Debug, Default)]
pub(super) struct Linked(Mutex<Option<Found>>);

#[derive(Debug)]
struct Found {
    began: SystemTime,
    took: Duration,
    /// The end of the look.
    since: Instant,
    /// Device and number.
    files: HashSet<(u64, u64)>,
}

impl Found {
    /// Whether a file that was changed then would have been found: a new name of a file changes it.
    fn tells_of(&self, changed: SystemTime) -> bool {
        let age = self.since.elapsed();
        if SystemTime::now().checked_add(AHEAD).is_some_and(|ahead| changed > ahead) {
            return age < KNOWN_AHEAD.max(self.took);
        }
        age < KNOWN.max(self.took) && self.began.checked_sub(STEP).is_some_and(|began| changed < began)
    }
}

impl Linked {
    /// Whether a file has another name in one of the closed places. The places are looked through only for a file that has several
    /// names at all, and that a look of before cannot have missed. What cannot be looked at counts as closed.
    pub(super) fn has(&self, file: &Path, closed: &Closed) -> bool {
        let about = match fs::metadata(file) {
            Ok(about) => about,
            Err(error) => return error.kind() != io::ErrorKind::NotFound,
        };
        if !about.is_file() || about.nlink() < 2 {
            return false;
        }
        let wanted = (about.dev(), about.ino());
        let seconds = Duration::from_secs(u64::try_from(about.ctime()).unwrap_or_default());
        let nanos = Duration::from_nanos(u64::try_from(about.ctime_nsec()).unwrap_or_default());
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.as_ref().filter(|found| found.tells_of(UNIX_EPOCH + seconds + nanos)) {
            return found.files.contains(&wanted);
        }
        let (began, start) = (SystemTime::now(), Instant::now());
        match look(closed) {
            Ok(files) => {
                let found = Found { began, took: start.elapsed(), since: Instant::now(), files };
                known.insert(found).files.contains(&wanted)
            }
            Err(_) => true,
        }
    }
}

/// Files of the closed places with more than one name. What goes away meanwhile is not there.
fn look(closed: &Closed) -> io::Result<HashSet<(u64, u64)>> {
    // What the system tells of processes is no file that could have a name elsewhere.
    let of_system = fs::metadata("/proc").ok().map(|about| about.dev());
    let mut files = HashSet::new();
    let mut left: Vec<PathBuf> = closed.places.iter().filter_map(|place| place.canonicalize().ok()).collect();
    left.sort();
    left.dedup_by(|later, earlier| later.starts_with(&*earlier));
    while let Some(path) = left.pop() {
        if closed.open.iter().any(|open| path.starts_with(open)) {
            continue;
        }
        let Some(about) = there(fs::symlink_metadata(&path))? else { continue };
        if about.is_file() && about.nlink() > 1 {
            files.insert((about.dev(), about.ino()));
        } else if about.is_dir() && Some(about.dev()) != of_system {
            let Some(entries) = there(fs::read_dir(&path))? else { continue };
            for entry in entries {
                left.extend(there(entry)?.map(|entry| entry.path()));
            }
        }
    }
    Ok(files)
}

/// What the server may not look into (`lost+found`, a folder of somebody else) has nothing that it keeps.
fn there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_second_name_of_a_closed_file_opens_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (data, token) = (folder.path().join("data"), folder.path().join("data/keys/admin.token"));
        fs::create_dir_all(data.join("keys")).unwrap();
        fs::create_dir_all(data.join("samples")).unwrap();
        fs::write(&token, "secret\n").unwrap();
        for (file, text) in [("list.csv", "a\n"), ("data/samples/b.csv", "b\n")] {
            fs::write(folder.path().join(file), text).unwrap();
        }
        let name = |name: &str| folder.path().join(name);
        fs::hard_link(name("list.csv"), name("same.csv")).unwrap();
        fs::hard_link(name("data/samples/b.csv"), name("b.csv")).unwrap();
        let closed = Closed::new([data.clone(), PathBuf::from("/proc")]).except(data.join("samples"));
        assert!(!closed.holds_file(&name("list.csv")), "its other name is open, too");
        assert!(!closed.holds_file(&name("b.csv")), "what is open in the folder stays so");
        // After a look that could not have found it.
        fs::hard_link(&token, name("more.csv")).unwrap();
        assert!(closed.holds_file(&name("more.csv")));
        assert!(!closed.holds_file(&name("list.csv")));
    }

    #[test]
    fn a_closed_folder_that_cannot_be_read_refuses_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let (data, file, same) =
            (folder.path().join("data"), folder.path().join("list.csv"), folder.path().join("same.csv"));
        let lost = data.join("lost+found");
        fs::create_dir_all(&lost).unwrap();
        fs::write(&file, "a\n").unwrap();
        fs::hard_link(&file, &same).unwrap();
        let mode = |mode| fs::set_permissions(&lost, fs::Permissions::from_mode(mode)).unwrap();
        mode(0o000);
        let held = Closed::new([data]).holds_file(&same);
        // So that the folder can be removed.
        mode(0o700);
        assert!(!held);
    }

    #[test]
    fn a_look_that_took_long_is_not_out_of_date_when_it_ends() {
        let hour = Duration::from_secs(3600);
        let (now, ended) = (SystemTime::now(), Instant::now().checked_sub(KNOWN * 2).unwrap());
        let found = |took, since| Found { began: now, took, since, files: HashSet::new() };
        assert!(found(Duration::ZERO, Instant::now()).tells_of(now - hour));
        assert!(!found(Duration::ZERO, Instant::now()).tells_of(now), "it may have missed it");
        assert!(found(Duration::ZERO, Instant::now()).tells_of(now + hour), "by another clock");
        assert!(!found(Duration::ZERO, ended).tells_of(now - hour));
        assert!(!found(Duration::ZERO, ended).tells_of(now + hour));
        assert!(found(hour, ended).tells_of(now - hour));
    }
}
