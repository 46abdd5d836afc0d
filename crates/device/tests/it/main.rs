//! Homes, adapter and job over real sockets, and against independent SunSpec peers in Python.

mod adapter;
mod peer;
mod support;
