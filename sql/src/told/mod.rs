//! What Hive's users ask of the catalog and DataFusion does not plan: `SHOW COLUMNS | PARTITIONS | CREATE TABLE |
//! TBLPROPERTIES | FUNCTIONS`, `DESCRIBE [EXTENDED | FORMATTED | HISTORY | DATABASE | FUNCTION]`.
//!
//! [`read`] tells which of them a text is, [`answer`] computes its lines, [`sheet`] makes a plan of them, which then passes the
//! guard as every plan does. Tables are bound as queries bind them, and what is said of them comes from the same functions as
//! `information_schema`: a column that is not there for somebody is not told of.

mod answer;
mod read;
mod sheet;
mod types;

pub(crate) use answer::{answer, partitions};
pub(crate) use read::{Asked, Form, Told, read};
