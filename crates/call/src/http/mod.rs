//! The HTTP client of scrapes and deliveries.

mod address;
mod body;
mod client;

pub use address::Address;
pub use client::{Auth, HttpClient};

pub(crate) use body::{BodyError, first_text, read};
pub(crate) use client::{Outgoing, full};
