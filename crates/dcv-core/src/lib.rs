//! Everything that decides: from a list of names to a certificate in a folder, with nothing left behind.

pub mod certificate;
pub mod doctor;
pub mod key;
pub mod name;
pub mod propagation;
