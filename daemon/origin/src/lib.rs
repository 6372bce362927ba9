//! Room origin.
