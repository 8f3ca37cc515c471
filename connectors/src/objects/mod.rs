//! Files, on local disk or in any object store: found by path or pattern, opened as plain bytes, remembered by place.

mod keys;
mod lines;
mod location;
mod open;
mod place;
mod webhdfs;

pub(crate) use lines::{Lines, printable};
pub(crate) use location::{FileEntry, Location, reason};
pub(crate) use open::{Opened, open, read_whole, unreadable};
pub(crate) use place::{Next, Place, Places};
