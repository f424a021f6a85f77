//! What runs beside the requests, in every instance: none of them is special, and work is shared by claiming rows.

pub mod dead_letters;
pub mod relay;
pub mod sweep;
