//! The members of the family: each forecasts a block of steps from what is seen, and none knows how it is judged.

pub(crate) mod clear_sky;
pub(crate) mod decomposed;
pub(crate) mod linear;
pub(crate) mod naive;
pub(crate) mod power_curve;
pub(crate) mod profile;
pub(crate) mod trees;
