//! Agents against each other, over routers that exist in simulations.

mod addresses;
mod basics;
mod chaos;
mod delivery;
mod forged;
mod links;
mod many;
mod orphans;
mod peers;
mod proxies;
mod resync;
mod rotation;
mod services;
mod states;
mod strangers;
mod traps;
mod turns;
