//! Names of files in a log, and the paths that they are read by.
//!
//! A log names a file of the table by its path below the table's folder, and a foreign one by its URL. Everything below the
//! log knows files by a [`Path`]: a foreign one begins with its scheme and a colon (`s3:/bucket/key`, `file:/folder/name`),
//! which no file of ours does.

use object_store::path::Path;

/// The authority of a URL and the path in its store; `None` for what is no URL. The URL is not percent-encoded.
pub(super) fn elsewhere(name: &str) -> Option<(String, Path)> {
    let (scheme, rest) = name.split_once("://")?;
    if scheme.is_empty() || !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)) {
        return None;
    }
    let (host, path) = if scheme == "file" { ("", rest) } else { rest.split_once('/')? };
    Some((format!("{scheme}://{host}"), exact(path)))
}

/// The URL of a file, not percent-encoded: as [`elsewhere`] takes it.
pub(super) fn url(authority: &str, path: &Path) -> String {
    format!("{authority}/{path}")
}

/// The path that a file of a log is read by, whether ours or foreign. `name` is not percent-encoded.
pub(crate) fn file_path(name: &str) -> Path {
    match elsewhere(name) {
        Some((authority, path)) => marked(&authority, &path),
        None => exact(name),
    }
}

/// The text as it stands, where it is a path at all.
fn exact(text: &str) -> Path {
    Path::parse(text).unwrap_or_else(|_| Path::from(text))
}

fn marked(authority: &str, path: &Path) -> Path {
    exact(&format!("{}/{path}", authority.replacen("://", ":/", 1).trim_end_matches('/')))
}

/// The authority and the path of a foreign file; `None` for one of ours.
pub(super) fn unmarked(path: &Path) -> Option<(String, Path)> {
    let (scheme, rest) = path.as_ref().split_once(":/")?;
    if scheme.contains('/') {
        return None;
    }
    let (host, path) = if scheme == "file" { ("", rest) } else { rest.split_once('/')? };
    Some((format!("{scheme}://{host}"), exact(path)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("file:///old/lake/year=2024/a b%20c.parquet", "file://", "old/lake/year=2024/a b%20c.parquet")]
    #[case("s3://archive/hms/site=Saint%20Denis/0", "s3://archive", "hms/site=Saint%20Denis/0")]
    #[case("webhdfs://nn:9870/x/y", "webhdfs://nn:9870", "x/y")]
    fn a_foreign_file_is_read_by_the_path_that_its_url_names(
        #[case] name: &str,
        #[case] authority: &str,
        #[case] path: &str,
    ) {
        let wanted = (authority.to_owned(), Path::parse(path).unwrap());
        assert_eq!(elsewhere(name).unwrap(), wanted);
        assert_eq!(unmarked(&file_path(name)).unwrap(), wanted);
        assert_eq!(url(&wanted.0, &wanted.1), name);
    }

    #[rstest]
    #[case("part-00000-x.parquet")]
    #[case("_change_data/cdc-1.parquet")]
    #[case("year=2024/a:b/x.parquet")]
    fn a_file_of_the_table_is_no_foreign_one(#[case] name: &str) {
        assert!(elsewhere(name).is_none());
        assert_eq!(file_path(name).as_ref(), name);
        assert!(unmarked(&file_path(name)).is_none());
    }
}
