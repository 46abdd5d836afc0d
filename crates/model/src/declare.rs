//! One commented declaration gives the type, its reading, its defaults, `explain`, JSON Schema and JSON.
//!
//! ```text
//! record! {
//!     /// What the map describes.
//!     pub struct Battery checked by check_battery {
//!         /// Usable energy.
//!         capacity: Energy, in ABOVE_ZERO;                    // required, because `Energy` cannot be absent
//!         /// Lowest state of charge.
//!         min_soc: Soc = Soc::fraction(0.0);                  // `minSoc`, with a default
//!         /// Cost of wear.
//!         wear_cost: Option<Price>;                           // may be absent
//!     }
//! }
//! ```
//! A first line `..name: Type;` merges the keys of another record or choice into the map.

/// A map with known keys.
macro_rules! record {
    (
        $(#[doc = $doc:literal])*
        pub struct $name:ident $(checked by $check:ident)? {
            $(.. $merged:ident : $mty:ty ;)*
            $($(#[doc = $fdoc:literal])* $field:ident : $ty:ty $(= $default:expr)? $(, in $range:expr)? ;)*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $(#[doc = concat!("One of the choices of [`", stringify!($mty), "`], written beside the other keys.")] pub $merged: $mty,)*
            $($(#[doc = $fdoc])* pub $field: $ty,)*
        }

        // A record without keys uses none of the arguments.
        #[allow(unused_variables)]
        impl $crate::field::Record for $name {
            fn object() -> $crate::schema::Object {
                #[allow(unused_mut)]
                let mut object = $crate::schema::Object {
                    name: stringify!($name),
                    doc: $crate::field::doc_text(&[$($doc),*]),
                    fields: vec![$($crate::field::field_schema::<$ty>(
                        $crate::field::camel_case(stringify!($field)),
                        $crate::field::doc_text(&[$($fdoc),*]),
                        $crate::declare::default_json!($ty $(, $default)?),
                        $crate::declare::is_given!($($default)?),
                        $crate::declare::optional!($($range)?),
                    ),)*],
                    choices: Vec::new(),
                };
                $({
                    let merged = <$mty as $crate::field::Record>::object();
                    if matches!(<$mty as $crate::field::Field>::schema(), $crate::schema::Schema::OneOf(_)) {
                        object.choices.push(merged.fields);
                    } else {
                        object.fields.splice(0..0, merged.fields);
                        object.choices.extend(merged.choices);
                    }
                })*
                object
            }

            fn add_keys(keys: &mut Vec<String>) {
                $(keys.push($crate::field::camel_case(stringify!($field)));)*
                $(<$mty as $crate::field::Record>::add_keys(keys);)*
            }

            fn read_keys(node: &$crate::node::Node, cx: &mut $crate::field::Cx<'_>) -> Option<Self> {
                $(let $merged: Option<$mty> = <$mty as $crate::field::Record>::read_keys(node, cx);)*
                $(let $field: Option<$ty> = {
                    let default: Option<fn() -> $ty> = $crate::declare::default_fn!($ty $(, $default)?);
                    let range: Option<$crate::schema::Range> = $crate::declare::optional!($($range)?);
                    cx.key(node, &$crate::field::camel_case(stringify!($field)), default, range)
                };)*
                let record = Self { $($merged: $merged?,)* $($field: $field?,)* };
                $({
                    let before = cx.count();
                    $check(&record, node, cx);
                    if cx.count() > before {
                        return None;
                    }
                })?
                Some(record)
            }

            fn write_keys(&self, into: &mut serde_json::Map<String, serde_json::Value>) {
                $($crate::field::Record::write_keys(&self.$merged, into);)*
                $({
                    let value = $crate::field::Field::write(&self.$field);
                    if !value.is_null() {
                        into.insert($crate::field::camel_case(stringify!($field)), value);
                    }
                })*
            }
        }

        impl $crate::field::Field for $name {
            fn schema() -> $crate::schema::Schema {
                $crate::schema::Schema::Object(<Self as $crate::field::Record>::object())
            }
            fn read(node: &$crate::node::Node, cx: &mut $crate::field::Cx<'_>) -> Option<Self> {
                if !matches!(node.value, $crate::node::Value::Map(_)) {
                    cx.mismatch(node, &Self::schema());
                    return None;
                }
                let before = cx.count();
                cx.unknown_keys::<Self>(node);
                let record = <Self as $crate::field::Record>::read_keys(node, cx)?;
                (cx.count() == before).then_some(record)
            }
            fn write(&self) -> serde_json::Value {
                let mut map = serde_json::Map::new();
                $crate::field::Record::write_keys(self, &mut map);
                serde_json::Value::Object(map)
            }
        }
    };
}

/// A map with exactly one of several keys.
macro_rules! choice {
    (
        $(#[doc = $doc:literal])*
        pub enum $name:ident { $($(#[doc = $vdoc:literal])* $variant:ident($ty:ty),)* }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub enum $name { $($(#[doc = $vdoc])* $variant($ty),)* }

        impl $crate::field::Record for $name {
            fn object() -> $crate::schema::Object {
                $crate::schema::Object {
                    name: stringify!($name),
                    doc: $crate::field::doc_text(&[$($doc),*]),
                    fields: vec![$({
                        let key = $crate::field::camel_case(stringify!($variant));
                        let doc = $crate::field::doc_text(&[$($vdoc),*]);
                        let mut field = $crate::field::field_schema::<$ty>(key, doc, None, false, None);
                        field.required = false;
                        field
                    },)*],
                    choices: Vec::new(),
                }
            }
            fn add_keys(keys: &mut Vec<String>) {
                $(keys.push($crate::field::camel_case(stringify!($variant)));)*
            }
            fn read_keys(node: &$crate::node::Node, cx: &mut $crate::field::Cx<'_>) -> Option<Self> {
                let keys = [$($crate::field::camel_case(stringify!($variant)),)*];
                let (index, value) = $crate::field::read_choice(node, cx, &keys)?;
                let mut next = 0..;
                $(if next.next() == Some(index) {
                    return cx.inside(&keys[index], |cx| {
                        <$ty as $crate::field::Field>::read(value, cx).map(Self::$variant)
                    });
                })*
                None
            }
            fn write_keys(&self, into: &mut serde_json::Map<String, serde_json::Value>) {
                match self {
                    $(Self::$variant(value) => {
                        let key = $crate::field::camel_case(stringify!($variant));
                        into.insert(key, $crate::field::Field::write(value));
                    })*
                }
            }
        }

        impl $crate::field::Field for $name {
            fn schema() -> $crate::schema::Schema {
                $crate::schema::Schema::OneOf(<Self as $crate::field::Record>::object())
            }
            fn read(node: &$crate::node::Node, cx: &mut $crate::field::Cx<'_>) -> Option<Self> {
                if !matches!(node.value, $crate::node::Value::Map(_)) {
                    cx.mismatch(node, &Self::schema());
                    return None;
                }
                let before = cx.count();
                cx.unknown_keys::<Self>(node);
                let value = <Self as $crate::field::Record>::read_keys(node, cx)?;
                (cx.count() == before).then_some(value)
            }
            fn write(&self) -> serde_json::Value {
                let mut map = serde_json::Map::new();
                $crate::field::Record::write_keys(self, &mut map);
                serde_json::Value::Object(map)
            }
        }
    };
}

/// One word of a closed list; `later: [..]` names words that a later version will understand.
macro_rules! words {
    (
        $(#[doc = $doc:literal])*
        pub enum $name:ident as $what:literal { $($(#[doc = $vdoc:literal])* $variant:ident,)* }
        $(later: [$($later:literal),*])?
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[doc = $vdoc])* $variant,)* }

        impl $name {
            /// All values in the order they are declared.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word in a manifest.
            #[must_use]
            pub fn word(self) -> String {
                match self { $(Self::$variant => $crate::field::camel_case(stringify!($variant)),)* }
            }

            fn words() -> $crate::schema::Words {
                $crate::schema::Words {
                    name: $what,
                    doc: $crate::field::doc_text(&[$($doc),*]),
                    words: vec![$((
                        $crate::field::camel_case(stringify!($variant)),
                        $crate::field::doc_text(&[$($vdoc),*]),
                    ),)*],
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.word())
            }
        }

        impl $crate::field::Field for $name {
            fn schema() -> $crate::schema::Schema {
                $crate::schema::Schema::Words(Self::words())
            }
            fn read(node: &$crate::node::Node, cx: &mut $crate::field::Cx<'_>) -> Option<Self> {
                $crate::field::read_word(node, cx, &Self::words(), Self::ALL, &[$($($later),*)?])
            }
            fn write(&self) -> serde_json::Value {
                serde_json::Value::String(self.word())
            }
        }
    };
}

/// The default as it would be written, if there is one.
macro_rules! default_json {
    ($ty:ty, $default:expr) => {{
        let default: $ty = $default;
        Some($crate::field::Field::write(&default))
    }};
    ($ty:ty) => {
        None
    };
}

/// A function that makes the default, if there is one.
macro_rules! default_fn {
    ($ty:ty, $default:expr) => {
        Some(|| $default)
    };
    ($ty:ty) => {
        None
    };
}

/// `Some(x)` for `x`, `None` for nothing.
macro_rules! optional {
    () => {
        None
    };
    ($value:expr) => {
        Some($value)
    };
}

/// Whether anything was given.
macro_rules! is_given {
    () => {
        false
    };
    ($value:expr) => {
        true
    };
}

pub(crate) use {choice, default_fn, default_json, is_given, optional, record, words};
