//! The site's loop against a played home: what a kill at any moment leaves, and what of it the accounts still know.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails loudly, in its helpers too")]

mod foresight;
mod home;
mod kill;
