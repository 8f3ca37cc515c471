use crate::Error;

/// A handle on the catalog database; cheap to clone.
#[derive(Debug, Clone)]
pub struct Catalog {}

impl Catalog {
    /// Opens the database, makes it where the URL is a SQLite file that does not exist yet, and applies migrations.
    ///
    /// `url`: `sqlite:///path/to/catalog.sqlite` or `postgres://user:password@host:port/database`.
    ///
    /// # Errors
    /// [`Error::Open`] with the URL (password left out) when the database cannot be reached or migrated.
    pub async fn open(url: &str) -> Result<Self, Error> {
        let _ = url;
        todo!()
    }
}
