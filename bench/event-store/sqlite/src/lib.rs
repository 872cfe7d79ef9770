//! The bindings of a newer version under the name of an older one.

pub use sqlite::*;
