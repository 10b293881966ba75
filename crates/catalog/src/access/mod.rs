//! Users, roles, what they may do, and what they log in with: kept in the registry, beside the secrets.
//!
//! `privilege` has the words, `records` what is known at a moment and what follows from it, `store` reads and writes it.

mod privilege;
mod records;
mod store;

pub use privilege::{ObjectId, ObjectKind, Privilege, Privileges};
pub use records::{AccessRecords, Grant, Member, Rights, RoleRecord, TokenRecord, UserRecord};
pub(crate) use store::{AccessCache, TABLES};
pub use store::{AccessChange, GrantedObject, UserOptions};
