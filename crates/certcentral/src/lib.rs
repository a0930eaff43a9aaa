//! A typed, tolerant client of the DigiCert CertCentral Services API.
