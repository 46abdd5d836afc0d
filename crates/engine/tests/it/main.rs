//! The site's loop against a played home: what a kill at any moment leaves, and what of it the accounts still know; and channels.

#![allow(clippy::print_stdout, reason = "long tests say what they did")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails loudly, in its helpers too")]

mod channels;
mod foresight;
mod home;
mod kill;
mod people;
