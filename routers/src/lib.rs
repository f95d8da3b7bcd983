//! SimpleX routers.
