//! XML Schema 1.0: what elements, attributes and texts may be.

mod attributes;
mod builtin;
mod compile;
mod complex;
mod dates;
mod decimal;
mod endless;
mod facets;
mod keys;
mod load;
mod particles;
mod pattern;
mod simple;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

pub(crate) use builtin::Builtin;
pub(crate) use builtin::float;
pub(crate) use compile::{Compiled, Compiler};
pub(crate) use decimal::Decimal;
pub(crate) use facets::{Facets, WhiteSpace};
pub(crate) use facets::{Measure, equal};
pub(crate) use keys::ANY;
pub(crate) use load::Components;

use super::names::QName;
use crate::error::{CallError, ErrorKind};

/// A type, by its place in [`Schemas::types`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TypeId(u32);

/// An element's declaration, by its place in [`Schemas::elements`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ElementId(u32);

/// All that the operations of a service need.
#[derive(Debug, Default)]
pub(crate) struct Schemas {
    types: Vec<Type>,
    elements: Vec<ElementDecl>,
    /// Types that have a name.
    pub(crate) named: HashMap<QName, TypeId>,
    /// How many named types have a local name.
    locals: HashMap<Arc<str>, usize>,
}

impl Schemas {
    pub(crate) fn ty(&self, id: TypeId) -> &Type {
        &self.types[id.0 as usize]
    }

    pub(crate) fn element(&self, id: ElementId) -> &ElementDecl {
        &self.elements[id.0 as usize]
    }

    /// The type itself and all that are derived from it, the nearest first.
    pub(crate) fn derived(&self, id: TypeId) -> Vec<TypeId> {
        let (mut all, mut seen, mut next) = (vec![id], HashSet::from([id]), 0);
        while next < all.len() {
            let more = &self.ty(all[next]).derived;
            all.extend(more.iter().filter(|id| seen.insert(**id)));
            next += 1;
        }
        all
    }

    /// Whether a type is this one or derived from it.
    pub(crate) fn is_derived(&self, id: TypeId, from: TypeId) -> bool {
        let bases = std::iter::successors(Some(id), |id| self.ty(*id).base);
        bases.take(compile::CHAIN + 1).any(|id| id == from)
    }
}

impl Schemas {
    /// The type itself and those derived from it, but for those that are abstract or cannot be used.
    pub(crate) fn concrete(&self, id: TypeId) -> Vec<TypeId> {
        let mut all = self.derived(id);
        all.retain(|id| !self.ty(*id).is_abstract && !matches!(self.ty(*id).kind, TypeKind::Failed(_)));
        all
    }

    /// The types of elements that may be nil.
    pub(crate) fn nillable(&self) -> HashSet<TypeId> {
        let heads: HashSet<TypeId> =
            self.elements.iter().filter(|one| one.nillable).map(|one| one.ty).collect();
        heads.into_iter().flat_map(|id| self.derived(id)).collect()
    }

    /// How `@xsi:type` names a type: by its local name, or `{namespace}name` where several have that.
    pub(crate) fn type_key(&self, id: TypeId) -> String {
        let Some(name) = &self.ty(id).name else { return self.ty(id).owner.to_string() };
        let alone = self.locals.get(&name.local).is_some_and(|count| *count == 1);
        if alone { name.local.to_string() } else { name.to_string() }
    }

    /// The named type that a key of [`Schemas::type_key`] or `{namespace}name` means.
    pub(crate) fn type_by_key(&self, key: &str) -> Option<(TypeId, QName)> {
        let found = QName::clark(key).and_then(|name| self.named.get_key_value(&name)).or_else(|| {
            self.named
                .iter()
                .find(|(name, _)| *name.local == *key && self.locals.get(&name.local) == Some(&1))
        });
        found.map(|(name, id)| (*id, name.clone()))
    }
}

/// A type.
#[derive(Debug)]
pub(crate) struct Type {
    /// Its name; `None` of an anonymous one.
    pub(crate) name: Option<QName>,
    /// Of an anonymous type, the element or attribute that has it; for messages.
    pub(crate) owner: Arc<str>,
    /// Whether only types derived from it may be used.
    pub(crate) is_abstract: bool,
    pub(crate) kind: TypeKind,
    /// What it is derived from, where that has a name.
    pub(crate) base: Option<TypeId>,
    /// Named types that are derived from it directly.
    pub(crate) derived: Vec<TypeId>,
    /// What it is for, in the document's words.
    pub(crate) documentation: Option<String>,
}

impl Type {
    /// For messages.
    pub(crate) fn label(&self) -> String {
        self.name.as_ref().map_or_else(|| format!("of `{}`", self.owner), |name| format!("`{name}`"))
    }
}

#[derive(Clone, Debug)]
pub(crate) enum TypeKind {
    /// Not read yet; none is left when reading has ended.
    Unread,
    /// It cannot be used, and why.
    Failed(Failure),
    /// `xsd:anyType`
    Any,
    Simple(Arc<Simple>),
    Complex(Arc<Complex>),
}

/// Why a type cannot be used.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) place: String,
    pub(crate) message: String,
    /// It is correct, and not supported here.
    pub(crate) unsupported: bool,
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self { place: error.place, message: error.message, unsupported: false }
    }
}

impl Failure {
    pub(crate) fn error(&self) -> CallError {
        CallError::new(ErrorKind::BadDocument, self.place.clone(), self.message.clone())
    }
}

/// A type of texts.
#[derive(Clone, Debug)]
pub(crate) struct Simple {
    pub(crate) variety: Variety,
    pub(crate) facets: Facets,
}

#[derive(Clone, Debug)]
pub(crate) enum Variety {
    Atomic(Builtin),
    /// Items, separated by space.
    List(TypeId),
    /// The first that takes the text.
    Union(Vec<TypeId>),
}

/// A type of elements with attributes or elements within.
#[derive(Clone, Debug, Default)]
pub(crate) struct Complex {
    pub(crate) content: Content,
    pub(crate) attributes: Vec<AttributeUse>,
    pub(crate) any_attribute: Option<Wildcard>,
    pub(crate) keys: Keys,
}

#[derive(Clone, Debug, Default)]
pub(crate) enum Content {
    /// Nothing.
    #[default]
    Empty,
    /// A text of this simple type.
    Text(TypeId),
    /// Elements, with text between them where it is mixed.
    Elements { particle: Arc<Particle>, mixed: bool },
}

/// An attribute that may stand on an element.
#[derive(Clone, Debug)]
pub(crate) struct AttributeUse {
    pub(crate) name: QName,
    /// Its key in JSON: `@name`.
    pub(crate) key: String,
    pub(crate) ty: TypeId,
    pub(crate) required: bool,
    pub(crate) default: Option<String>,
    pub(crate) fixed: Option<String>,
}

/// A declared element.
#[derive(Clone, Debug)]
pub(crate) struct ElementDecl {
    pub(crate) name: QName,
    pub(crate) ty: TypeId,
    pub(crate) nillable: bool,
    pub(crate) is_abstract: bool,
    pub(crate) default: Option<String>,
    pub(crate) fixed: Option<String>,
    /// Elements that may stand for it, those that may stand for them among them.
    pub(crate) members: Vec<ElementId>,
    pub(crate) documentation: Option<String>,
    pub(crate) place: String,
}

/// How often something stands.
#[derive(Clone, Debug)]
pub(crate) struct Particle {
    pub(crate) min: u32,
    /// `None`: without end.
    pub(crate) max: Option<u32>,
    pub(crate) term: Term,
}

#[derive(Clone, Debug)]
pub(crate) enum Term {
    /// An element, and the keys of the owning type that stand for it.
    Element(ElementId, Box<[u32]>),
    Sequence(Vec<Particle>),
    Choice(Vec<Particle>),
    All(Vec<Particle>),
    Any(Wildcard),
}

/// Elements or attributes of some namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wildcard {
    Any,
    /// Any namespace but this one and none.
    Other(Arc<str>),
    /// These; the empty one is none.
    Of(Vec<Arc<str>>),
}

impl Wildcard {
    pub(crate) fn takes(&self, namespace: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Other(not) => !namespace.is_empty() && **not != *namespace,
            Self::Of(list) => list.iter().any(|one| **one == *namespace),
        }
    }
}

/// The elements within a type, each name once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys {
    pub(crate) list: Vec<Key>,
    pub(crate) by_name: HashMap<QName, u32>,
    pub(crate) by_key: HashMap<String, u32>,
    /// How often elements of wildcards may stand; `(0, Some(0))` without wildcards.
    pub(crate) any: (u32, Option<u32>),
    /// Whether the order of elements does not follow from their numbers.
    pub(crate) loose: bool,
}

/// An element within a type.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    /// Its key in JSON: the local name; `{namespace}name` where others within the type have the same local name.
    pub(crate) key: String,
    pub(crate) element: ElementId,
    pub(crate) min: u32,
    pub(crate) max: Option<u32>,
}

impl Key {
    /// Whether it is a list in JSON.
    pub(crate) fn is_list(&self) -> bool {
        self.max != Some(1)
    }
}
