//! SOAP 1.1 and 1.2, driven by a WSDL 1.1 that is read at run time.
//!
//! [`Client::read`] makes a [`Contract`](crate::Contract) of the documents, [`Client::call`] calls an operation with
//! JSON. [`imports`] tells which other documents one needs.
//!
//! # Messages as JSON
//! The input of an operation is the value of the one element in its body, in all styles: of the wrapper of
//! document/literal wrapped and of rpc, of the element of document/literal bare. A body with several elements, or none,
//! is an object with a key for each. So `<add><a>1</a><b>2</b></add>` is `{"a": 1, "b": 2}`.
//!
//! Beside them stands `$headers`: an object with the headers that the document declares (all optional), and `#any`, a
//! list of others. Where the body's value is no object, the input is `{"$headers": {…}, "$body": value}`. Outputs have
//! the declared headers that came in the same way. Headers that are declared by a `type` and not by an `element` are
//! given in `#any`, and of answers they are among [`Answer::headers`](crate::Answer).
//!
//! # Elements as JSON
//! | XML Schema | JSON |
//! |---|---|
//! | an element within a type | a key, its local name; `{namespace}name` for all of those that have the same local name within a type (`{}name` without a namespace) |
//! | `maxOccurs` of more than 1, also of a group around it | a list, always |
//! | an attribute | `@name`; `@{namespace}name` where two have the same local name, or by `anyAttribute` |
//! | simple content | `#text` beside the attributes |
//! | `xsi:nil` | `null`; `"#nil": true` in an object where it has attributes |
//! | `xsi:type` | `@xsi:type`: the type's local name, `{namespace}name` where several have that; required of abstract types |
//! | elements that substitute others | keys of their own |
//! | `xsd:any` | `#any`, a list of elements as below |
//! | mixed content | `#text`, all text together; written before the elements |
//! | `xsd:anyType` | a text; an object with `@xsi:type` where the type is known (`#text` of simple ones); else as below |
//!
//! The order of elements in XML follows from the schema, whatever the order of keys is. Where it does not, as in a
//! choice that stands more than once, elements are written by groups as the schema has them, unless `#order`, a list of
//! keys, says otherwise. Outputs have `#order` only where the order is another one than that.
//!
//! An element of no known type is `{"#name": "{namespace}name", "@name": "text", "#content": ["text", {"#name": …}]}`.
//!
//! # Simple types as JSON
//! `boolean` is true or false. Integers are numbers, beyond ±(2^53−1) strings. `decimal` is a number where that keeps
//! every digit, else a string. `float` and `double` are numbers, `"INF"`, `"-INF"` or `"NaN"`. `QName` is
//! `"{namespace}name"`, lists are lists, unions are what their first fitting member is, all others are strings: dates and
//! times as XML Schema writes them, `base64Binary` and `hexBinary` as they are written.
//!
//! # Guarantees
//! DTDs, entities and XInclude are never followed; nothing is fetched. Documents and answers are bounded in bytes, depth,
//! elements and attributes. Inputs are checked before anything is sent, answers before they are handed on, facets too.
//!
//! # Not supported
//! SOAP encoding, requests with attachments, solicit-response and notification, identity constraints
//! (`key`, `unique`), XML Schema 1.1, WSDL 2.0. Patterns with blocks or classes that are not known are not checked, ranges
//! of durations neither.

mod addressing;
mod client;
mod content;
mod decode;
mod encode;
mod envelope;
mod faults;
mod generic;
mod json_schema;
mod mime;
mod names;
mod operation;
mod read;
mod security;
mod sources;
mod values;
mod wsdl;
mod xml;
mod xsd;

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod tests;

pub use client::{Client, Random};
pub use security::{Clock, Password, Security};
pub use sources::imports;
pub use wsdl::Choice;
