//! The order flow of dcv: state machine, journal, propagation, proof placement.
