//! `GRANT`, `REVOKE`, `CREATE POLICY`, `CREATE MASK`, `BREAK GLASS`, `SHOW GRANTS`: who may see what, in SQL.
//!
//! [`statement`] reads them, [`act`] checks them against what there is, writes them to the catalog and audits them.

mod act;
mod reader;
mod statement;

pub(crate) use act::act;
pub(crate) use statement::{Statement, read};
