//! edge-seg
