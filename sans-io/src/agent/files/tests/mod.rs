//! Files over routers and a disk that exist in the tests only.

mod crashes;
mod receiving;
mod removing;
mod sending;
mod world;
