//! An offline CertCentral: real validation, real certificates, no account.
