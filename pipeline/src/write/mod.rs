//! Resources that a client writes: created, updated and deleted one by one, or several at once.
//!
//! A write reaches the FHIR zone in the way of every other one (history first, current from it, a snapshot published), but
//! it is answered while the client waits, and several types are written as one. Delta commits one table at a time, so that
//! the promise to do all of it is made in the catalog:
//!
//! 1. [`check`]: what can be refused without looking at the lake is refused.
//! 2. The turn of every type that is written is waited for, and its history's lease taken, in one order for everybody.
//! 3. [`decide`]: conditions, versions and references are resolved against the newest state, which cannot change under us.
//!    Whatever is refused until here leaves nothing behind.
//! 4. The **intent** is written: every version with its number, its time and its text. From here on the write will be done.
//! 5. [`commit`]: history of each type is committed with the intent's id as its cursor, current follows.
//! 6. The snapshot with all of them is published and the intent closed, in one transaction of the catalog. Only now does
//!    anybody see it, and all of it at once.
//!
//! A crash between 4 and 6 leaves the intent: the next start, and before that whoever else writes the FHIR zone, does what
//! is missing ([`settle`]). A history whose last cursor names the intent has it already. Nobody publishes a table that an
//! open intent names (the catalog refuses), and nobody writes one, so that nothing half done is seen or built upon.

mod check;
mod commit;
mod decide;
mod gate;
mod item;
mod matching;
mod naming;
mod request;
mod run;
mod settle;
mod sight;
mod turns;

pub(crate) use matching::known;
pub use request::{Effect, Operation, Reason, Refusal, Together, Which, Write, WriteError, Written};
pub(crate) use run::write;
pub(crate) use settle::{settle, unpromised};
pub(crate) use turns::Turns;
