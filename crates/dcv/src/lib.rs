//! The program dcv: proves domains to CertCentral and brings OV/EV certificates home.
