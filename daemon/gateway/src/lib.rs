//! Room gateway.
