//! Where an address is: its region and carrier, which together are its *cell*.
//!
//! 1. [`Databases`] holds any subset of four MMDB files (our own, City, ISP, ASN), each verified as
//!    it is opened, and merges what they say of an address into a [`Place`], with the source of
//!    every field.
//! 2. [`Carrier`] and [`Region`] are the two small vocabularies that everything else is stated in:
//!    they are values to compare and hash, and they have one spelling each.
//! 3. [`build`] makes our own database out of lists, other databases and the operator's [`overrides`],
//!    and [`mod@write`] writes it; [`diff`] compares two; in the [`demo`]'s loopback belongs to cells.
//!
//! Nothing here waits or keeps time; [`io`] reads files and notices that they changed.

pub mod build;
pub mod carrier;
pub mod database;
pub mod databases;
pub mod demo;
pub mod diff;
pub mod io;
pub mod lists;
pub mod overrides;
pub mod place;
pub mod position;
pub mod region;
pub mod span;
pub mod write;

pub use carrier::{Carrier, Carriers};
pub use databases::Databases;
pub use place::{Cell, Found, Place, Source};
pub use position::Position;
pub use region::Region;
