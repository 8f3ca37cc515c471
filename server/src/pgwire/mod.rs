//! PostgreSQL's wire protocol (version 3), on a port of its own.
//!
//! [`door`] accepts connections; [`startup`] agrees on TLS and asks who is there (the password is the token, the database is
//! a zone); [`connection`] reads messages ([`message`]) and answers them, [`simple`] and [`extended`] for the two ways of
//! asking. A text is cut into statements by [`script`]; what concerns the connection alone ([`settings`], [`transaction`]s,
//! [`cursor`]s) is answered by [`session`], everything else is a query of [`mavis_sql`], under the same guard, limits and audit as at
//! every door. Rows are written as they come ([`portal`], [`values`], [`copy`]), never more than a batch at a time.
//!
//! A connection keeps its token and shows it again for each statement, so that one that is revoked ends at once. Messages of
//! errors are [`failure`]'s: they repeat the caller's own words, never a value of a row. [`cancel`] stops what runs.

mod cancel;
mod command;
mod connection;
mod copy;
mod cursor;
mod door;
mod extended;
mod failure;
mod lexer;
mod local;
mod message;
mod output;
mod parameters;
mod portal;
mod script;
mod session;
mod settings;
mod simple;
mod startup;
mod transaction;
mod values;
mod words;

pub(crate) use door::serve;
