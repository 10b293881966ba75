//! `frazil sql` as people and scripts use it: what it prints in each format, what it does with keys, whom it logs in as.

mod ended;
mod formats;
mod servers;
mod typed;
