//! Tests through the crate's own door. Those for PostgreSQL run when FRAZIL_TEST_POSTGRES names a URL.

mod crash;
mod glance;
mod history;
mod model;
mod reading;
mod registry;
mod scale;
mod support;
mod writes;
