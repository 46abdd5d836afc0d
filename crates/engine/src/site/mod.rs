//! A site: observe → forecast → decide → guard → act → verify → record, every tick.

pub mod account;
mod background;
mod balance;
mod burnt;
pub mod carried;
pub mod case;
pub mod control;
mod core;
pub mod decide;
pub mod drift;
pub mod feeders;
mod foresight;
pub mod generators;
pub mod ledger;
pub mod links;
pub mod model;
mod observe;
pub mod orders;
pub mod outlook;
pub mod people;
pub mod periods;
pub mod plan;
mod planner;
mod record;
pub mod reference;
mod renew;
pub mod settlement;
pub(crate) mod slow;
mod storages;
pub mod task;
pub(crate) mod telemetry;
#[cfg(test)]
mod testing;
pub mod view;
pub mod work;
