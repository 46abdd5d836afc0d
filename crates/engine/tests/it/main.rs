//! The site's loop against a played home: what a kill at any moment leaves, and what of it the accounts still know.

mod home;
mod kill;
