//! Room neighbour.
