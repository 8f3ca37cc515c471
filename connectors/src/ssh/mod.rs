//! Ways through SSH servers to hosts that only they reach.
//!
//! A source declares its way in an `ssh` block ([`SshParams`]); [`Tunnels`] makes a [`Tunnel`] of it, which opens nothing
//! yet. Each connection of a driver is then one channel of an SSH **session**, and one session serves all connections of all
//! sources that go to the same server as the same user with the same credentials (`pool`): opened when first needed,
//! kept alive, opened anew when it broke, closed when nobody used it for a while.
//!
//! ```text
//! driver -- Unix socket, 0700 -- pump -- channel --\
//! driver -- Unix socket, 0700 -- pump -- channel ----> session -> gate (-> session -> next gate) -> host:port
//! driver -- loopback port ------ pump -- channel --/
//! ```
//!
//! The server's host key is checked at every handshake (`host_key`): against a pin, a `known_hosts` file, or the key that
//! was recorded when the server was first seen. A key that changed is refused.
//!
//! Channels of one session share a TCP connection, and the library stops reading it while any channel's data is not
//! taken. A reader that waits for something else would stop all others, so that `pump` puts aside, in a file and
//! sealed with a key of this process's memory, what a reader does not take for a second while others are open.

mod forward;
mod host_key;
mod login;
mod params;
mod pool;
mod pump;
mod session;
mod spill;
mod trouble;
mod tunnel;
mod watcher;

pub use forward::{Endpoint, LocalPort};
pub use host_key::{HostKey, HostKeys, Remembered};
pub use params::{SshHop, SshParams};
pub use pool::Tunnels;
pub use tunnel::Tunnel;
