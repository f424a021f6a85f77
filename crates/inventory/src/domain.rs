//! The nouns of this service, parsed once and valid from then on. No input or output here.

pub mod cursor;
pub mod edit;
pub mod original;
pub mod photo;
pub mod product;
pub mod reservation;
