//! SimpleX agent.
