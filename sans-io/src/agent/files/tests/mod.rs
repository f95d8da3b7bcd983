//! Files over the routers and the disk of [a simulation](crate::sim::files).

mod counting;
mod crashes;
mod receiving;
mod removing;
mod script;
mod sending;
