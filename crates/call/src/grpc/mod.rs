//! gRPC without generated code: what a service can be asked is read at run time, from `.proto` files, a compiled
//! descriptor set, or the service itself (server reflection). Messages go in and out as JSON.
//!
//! # JSON
//! Messages are written as the [ProtoJSON format](https://protobuf.dev/programming-guides/json/) says: fields in
//! lowerCamelCase or as the `.proto` names them, 64-bit integers as text, bytes in base64, enums by name, times in RFC 3339.
//!
//! # Sources
//! [gRPC over HTTP/2](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md), its status codes, compression,
//! server reflection (`grpc.reflection.v1`) and health checking (`grpc.health.v1`).

mod attempt;
mod client;
mod codec;
mod descriptors;
mod details;
mod documents;
mod editions;
mod health;
mod json;
mod metadata;
mod operations;
mod outputs;
mod reflection;
mod response;
mod schema;
mod status;

pub use client::Client;
pub use documents::imports;
pub use health::{Serving, health};
pub use outputs::Outputs;

#[cfg(test)]
mod testing;
