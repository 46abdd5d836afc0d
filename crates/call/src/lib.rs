//! What `sos` fetches from others and delivers to others: data in, data out.
//!
//! - [`scrape`] fetches metrics over HTTP and reads them ([`exposition`]).
//! - [`deliver`] hands a finished notification to one receiver: a webhook, a mail server, an MQTT broker.
//!
//! # Guarantees
//! Every call ends within the time that its caller gives, reads a bounded number of bytes, and keeps nothing that
//! could hold up another call. Passwords, tokens and the paths of addresses never appear in `Debug` or errors.

pub mod deliver;
pub mod exposition;
mod http;
pub mod scrape;
mod secret;
mod tls;

pub use http::{Address, Auth, HttpClient};
pub use secret::{Login, Secret};
pub use tls::Trust;
