//! Agents against each other, over routers that exist in simulations.

mod addresses;
mod basics;
mod chaos;
mod delivery;
mod links;
mod peers;
mod resync;
mod rotation;
