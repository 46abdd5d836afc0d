//! Declared components to types and elements: what the operations need, and no more.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::builtin::{Builtin, Known};
use super::load::{Component, Components, Sort};
use super::{
    Complex, Content, ElementDecl, ElementId, Facets, Failure, Particle, Schemas, Simple, Term, Type, TypeId,
    TypeKind, Variety,
};
use crate::soap::names::{ENCODING11, ENCODING12, QName, XSD, listed, short};
use crate::soap::sources::{At, Sources};
use crate::soap::xml::Element;

/// Types that the operations of one service may need, and places of elements within them.
const TYPES: usize = 50_000;
pub(super) const PARTICLES: usize = 500_000;
/// Types derived from types, and groups within groups.
pub(super) const CHAIN: usize = 64;

pub(crate) type Compiled<T> = Result<T, Failure>;

/// Reads types as they are asked for. A type may need itself, so each has its number before it is read.
#[derive(Debug)]
pub(crate) struct Compiler<'s> {
    pub(super) sources: &'s Sources<'s>,
    pub(super) components: &'s Components,
    pub(crate) schemas: Schemas,
    /// Definitions of types that are not read yet.
    definitions: HashMap<TypeId, Definition>,
    queue: VecDeque<TypeId>,
    /// Types whose reading has begun and not ended, one needing the other.
    active: Vec<TypeId>,
    by_place: HashMap<(usize, At), TypeId>,
    global: HashMap<QName, ElementId>,
    /// Types derived from a type, and elements that stand for an element, by name.
    derivations: HashMap<QName, Vec<QName>>,
    substitutions: HashMap<QName, Vec<QName>>,
    pub(super) particles: usize,
}

/// Where a type is defined.
#[derive(Clone, Debug)]
pub(super) struct Definition {
    pub(super) component: Component,
    /// The name by which a redefinition means what it redefines.
    pub(super) redefines: Option<(Sort, QName)>,
}

/// Where a reference stands: what it is resolved against.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) schema: usize,
    pub(super) source: usize,
    pub(super) redefined: Option<(Sort, QName, Component)>,
}

impl<'s> Compiler<'s> {
    pub(crate) fn new(sources: &'s Sources<'s>, components: &'s Components) -> Self {
        let mut this = Self {
            sources,
            components,
            schemas: Schemas::default(),
            definitions: HashMap::new(),
            queue: VecDeque::new(),
            active: vec![],
            by_place: HashMap::new(),
            global: HashMap::new(),
            derivations: HashMap::new(),
            substitutions: HashMap::new(),
            particles: 0,
        };
        this.note_relations();
        this
    }

    /// Who is derived from whom and who stands for whom; references that lead nowhere are found when they are needed.
    fn note_relations(&mut self) {
        for key in &self.components.order {
            let component = &self.components.all[key];
            let element = self.sources.element(component.at);
            let context = self.context(component, None);
            match key.0 {
                Sort::Element => {
                    let heads = element.attribute("substitutionGroup").unwrap_or_default();
                    for head in heads.split_ascii_whitespace() {
                        if let Ok(head) = self.resolve(&context, element, head) {
                            self.substitutions.entry(head).or_default().push(key.1.clone());
                        }
                    }
                }
                Sort::Type => {
                    if let Some(base) =
                        derivation(element).and_then(|step| Some((step, step.attribute("base")?)))
                        && let Ok(base) = self.resolve(&context, base.0, base.1)
                        && base != key.1
                    {
                        self.derivations.entry(base).or_default().push(key.1.clone());
                    }
                }
                _ => {}
            }
        }
    }

    pub(super) fn context(&self, component: &Component, sort: Option<(Sort, &QName)>) -> Context {
        let redefined = component.original.as_ref().zip(sort);
        let redefined = redefined.map(|(original, (sort, name))| (sort, name.clone(), (**original).clone()));
        Context { schema: component.schema, source: component.at.source, redefined }
    }

    /// What a name means that stands in this element.
    pub(super) fn resolve(&self, context: &Context, element: Element<'_>, text: &str) -> Compiled<QName> {
        let mut name = element.qname(text).map_err(|message| self.failure(context, element, message))?;
        let schema = &self.components.schemas[context.schema];
        if name.namespace.is_empty() && schema.chameleon {
            name.namespace = schema.target.clone();
        }
        Ok(name)
    }

    pub(super) fn failure(
        &self,
        context: &Context,
        element: Element<'_>,
        message: impl Into<String>,
    ) -> Failure {
        let place = self.sources.place(At { source: context.source, node: element.id() });
        Failure { place, message: message.into(), unsupported: false }
    }

    pub(super) fn unsupported(
        &self,
        context: &Context,
        element: Element<'_>,
        message: impl Into<String>,
    ) -> Failure {
        Failure { unsupported: true, ..self.failure(context, element, message) }
    }

    /// A component that a name refers to.
    pub(super) fn component(
        &self,
        context: &Context,
        element: Element<'_>,
        sort: Sort,
        name: &QName,
    ) -> Compiled<Component> {
        if let Some((of, known, original)) = &context.redefined
            && *of == sort
            && known == name
        {
            return Ok(original.clone());
        }
        let found = self.components.all.get(&(sort, name.clone()));
        found.cloned().ok_or_else(|| self.unknown(context, element, sort, name))
    }

    fn unknown(&self, context: &Context, element: Element<'_>, sort: Sort, name: &QName) -> Failure {
        if matches!(&*name.namespace, ENCODING11 | ENCODING12) {
            let message = format!(
                "`{}` of the SOAP encoding, which is not supported; only literal messages are",
                name.local
            );
            return self.unsupported(context, element, message);
        }
        let alike = self.components.order.iter();
        let mut known: Vec<&str> = alike
            .filter(|key| key.0 == sort && key.1.namespace == name.namespace)
            .map(|key| &*key.1.local)
            .collect();
        known.sort_unstable();
        let mut message = format!("{} `{}` is declared nowhere", sort.word(), short(&name.to_string()));
        if known.is_empty() && !self.components.missing.is_empty() {
            let missing = listed(self.components.missing.iter().map(String::as_str));
            message = format!("{message}; not among the documents: {missing}");
        } else {
            message = format!("{message}; known in its namespace: {}", listed(known));
        }
        self.failure(context, element, message)
    }

    /// The type with this name.
    pub(super) fn type_named(
        &mut self,
        context: &Context,
        element: Element<'_>,
        name: &QName,
    ) -> Compiled<TypeId> {
        if let Some((Sort::Type, known, original)) = &context.redefined
            && known == name
        {
            let owner = Arc::from(format!("redefined {}", name.local));
            return self.defined(original.clone(), None, owner, None);
        }
        if let Some(id) = self.schemas.named.get(name) {
            return Ok(*id);
        }
        if *name.namespace == *XSD
            && let Some(known) = Builtin::named(&name.local)
        {
            return Ok(self.built_in(name, known));
        }
        let component = self.component(context, element, Sort::Type, name)?;
        let redefines = component.original.is_some().then(|| (Sort::Type, name.clone()));
        self.defined(component, Some(name.clone()), name.local.clone(), redefines)
    }

    fn built_in(&mut self, name: &QName, known: Known) -> TypeId {
        let kind = match known {
            Known::AnyType => TypeKind::Any,
            Known::Atomic(builtin) => {
                let facets = Facets { white_space: builtin.white_space(), ..Facets::default() };
                TypeKind::Simple(Arc::new(Simple { variety: Variety::Atomic(builtin), facets }))
            }
            Known::List(builtin) => {
                let item = QName::new(XSD, if builtin == Builtin::NmToken { "NMTOKEN" } else { "NCName" });
                let item = self.built_in(&item, Known::Atomic(builtin));
                let facets = Facets {
                    white_space: super::WhiteSpace::Collapse,
                    min_length: Some(1),
                    ..Facets::default()
                };
                TypeKind::Simple(Arc::new(Simple { variety: Variety::List(item), facets }))
            }
        };
        if let Some(id) = self.schemas.named.get(name) {
            return *id;
        }
        let id = self.push(Type {
            name: Some(name.clone()),
            owner: name.local.clone(),
            is_abstract: false,
            kind,
            base: None,
            derived: vec![],
            documentation: None,
        });
        self.schemas.named.insert(name.clone(), id);
        id
    }

    fn push(&mut self, ty: Type) -> TypeId {
        self.schemas.types.push(ty);
        TypeId(self.schemas.types.len() as u32 - 1)
    }

    /// The simple type of texts, for attributes and elements without one.
    pub(super) fn any_simple(&mut self) -> TypeId {
        self.built_in(&QName::new(XSD, "anySimpleType"), Known::Atomic(Builtin::AnySimple))
    }

    pub(crate) fn any_type(&mut self) -> TypeId {
        self.built_in(&QName::new(XSD, "anyType"), Known::AnyType)
    }

    /// Gives a defined type its number; it is read later.
    pub(super) fn defined(
        &mut self,
        component: Component,
        name: Option<QName>,
        owner: Arc<str>,
        redefines: Option<(Sort, QName)>,
    ) -> Compiled<TypeId> {
        let key = (component.schema, component.at);
        if let Some(id) = self.by_place.get(&key) {
            return Ok(*id);
        }
        let element = self.sources.element(component.at);
        if self.schemas.types.len() >= TYPES {
            let context = self.context(&component, None);
            return Err(self.failure(&context, element, format!("more than {TYPES} types")));
        }
        let id = self.push(Type {
            name: name.clone(),
            owner,
            is_abstract: is_true(element.attribute("abstract")),
            kind: TypeKind::Unread,
            base: None,
            derived: vec![],
            documentation: documentation(element),
        });
        if let Some(name) = name {
            self.schemas.named.insert(name, id);
        }
        self.by_place.insert(key, id);
        self.definitions.insert(id, Definition { component, redefines });
        self.queue.push_back(id);
        Ok(id)
    }

    /// Reads all that was asked for, and what that needs, and types derived from it.
    pub(crate) fn finish(mut self) -> Schemas {
        while let Some(id) = self.queue.pop_front() {
            self.read(id);
            self.read_derived(id);
        }
        self.note_derived();
        super::endless::refuse(&mut self.schemas);
        for name in self.schemas.named.keys() {
            *self.schemas.locals.entry(name.local.clone()).or_default() += 1;
        }
        self.schemas
    }

    fn read_derived(&mut self, id: TypeId) {
        let Some(name) = self.schemas.ty(id).name.clone() else { return };
        let Some(derived) = self.derivations.get(&name).cloned() else { return };
        for name in derived {
            let component = self.components.all[&(Sort::Type, name.clone())].clone();
            let context = self.context(&component, None);
            let element = self.sources.element(component.at);
            // One that cannot be read is known as failed, and told when it is needed.
            let _ = self.type_named(&context, element, &name);
        }
    }

    fn note_derived(&mut self) {
        let bases: Vec<(TypeId, TypeId)> = self
            .schemas
            .types
            .iter()
            .enumerate()
            .filter(|(_, ty)| ty.name.is_some())
            .filter_map(|(number, ty)| Some((TypeId(number as u32), ty.base?)))
            .collect();
        for (id, base) in bases {
            let is_any = matches!(self.schemas.ty(base).kind, TypeKind::Any);
            if !is_any && base != id {
                self.schemas.types[base.0 as usize].derived.push(id);
            }
        }
    }

    /// Reads one type now. What is wrong with it is kept in its place.
    pub(super) fn read(&mut self, id: TypeId) {
        if !matches!(self.schemas.ty(id).kind, TypeKind::Unread) {
            return;
        }
        let definition = self.definitions[&id].clone();
        let element = self.sources.element(definition.component.at);
        let sort = definition.redefines.as_ref().map(|(sort, name)| (*sort, name));
        let context = self.context(&definition.component, sort);
        let read = if self.active.contains(&id) {
            Err(self.failure(
                &context,
                element,
                format!("type {} is derived from itself", self.schemas.ty(id).label()),
            ))
        } else if self.active.len() >= CHAIN {
            Err(self.failure(&context, element, format!("types derived from types more than {CHAIN} times")))
        } else {
            self.active.push(id);
            let read = self.kind(&context, element, id);
            self.active.pop();
            read
        };
        // A circle has failed within, at the type that closes it.
        if matches!(self.schemas.ty(id).kind, TypeKind::Unread) {
            self.schemas.types[id.0 as usize].kind = read.unwrap_or_else(TypeKind::Failed);
        }
    }

    fn kind(&mut self, context: &Context, element: Element<'_>, id: TypeId) -> Compiled<TypeKind> {
        match element.local() {
            "simpleType" => Ok(TypeKind::Simple(Arc::new(self.simple(context, element, id)?))),
            "complexType" => Ok(TypeKind::Complex(Arc::new(self.complex(context, element, id)?))),
            local => {
                Err(self.failure(context, element, format!("expected a type, found `{}`", short(local))))
            }
        }
    }

    /// The kind of a type, which is read now where it was not.
    pub(super) fn kind_of(&mut self, id: TypeId) -> Compiled<TypeKind> {
        self.read(id);
        match &self.schemas.ty(id).kind {
            TypeKind::Failed(failure) => Err(failure.clone()),
            kind => Ok(kind.clone()),
        }
    }

    pub(super) fn set_base(&mut self, id: TypeId, base: TypeId) {
        self.schemas.types[id.0 as usize].base = Some(base);
    }

    /// The element that is declared with this name, for messages of the service.
    ///
    /// # Errors
    /// When there is none, or it cannot be used.
    pub(crate) fn element_at(&mut self, at: At, name: &QName) -> Compiled<ElementId> {
        let context = Context { schema: 0, source: at.source, redefined: None };
        self.global_element(&context, self.sources.element(at), name)
    }

    pub(crate) fn place(&self, at: At) -> String {
        self.sources.place(at)
    }

    /// The type with this name, for messages of the service.
    pub(crate) fn type_at(&mut self, at: At, name: &QName) -> Compiled<TypeId> {
        let context = Context { schema: 0, source: at.source, redefined: None };
        self.type_named(&context, self.sources.element(at), name)
    }

    /// The element around the parts of an `rpc` message: each part an element without a namespace, in order.
    ///
    /// # Errors
    /// When two parts have the same name and other types.
    pub(crate) fn wrapper(
        &mut self,
        at: At,
        name: QName,
        parts: &[(Arc<str>, TypeId)],
    ) -> Compiled<ElementId> {
        let context = Context { schema: 0, source: at.source, redefined: None };
        let from = self.sources.element(at);
        let mut list = vec![];
        for (part, ty) in parts {
            let name = QName { namespace: Arc::from(""), local: part.clone() };
            let part = self.add_element(self.plain_element(at, name, *ty));
            list.push(Particle { min: 1, max: Some(1), term: Term::Element(part, Box::default()) });
        }
        let mut particle = super::complex::sequence(list);
        let keys = self.keys(&context, from, &mut particle)?;
        let content = Content::Elements { particle: Arc::new(particle), mixed: false };
        let complex = Complex { content, keys, ..Complex::default() };
        let ty = self.push(Type {
            name: None,
            owner: name.local.clone(),
            is_abstract: false,
            kind: TypeKind::Complex(Arc::new(complex)),
            base: None,
            derived: vec![],
            documentation: None,
        });
        Ok(self.add_element(self.plain_element(at, name, ty)))
    }

    fn plain_element(&self, at: At, name: QName, ty: TypeId) -> ElementDecl {
        ElementDecl {
            name,
            ty,
            nillable: false,
            is_abstract: false,
            default: None,
            fixed: None,
            members: vec![],
            documentation: None,
            place: self.sources.place(at),
        }
    }

    pub(super) fn global_element(
        &mut self,
        context: &Context,
        from: Element<'_>,
        name: &QName,
    ) -> Compiled<ElementId> {
        if let Some(id) = self.global.get(name) {
            return Ok(*id);
        }
        let component = self.component(context, from, Sort::Element, name)?;
        let element = self.sources.element(component.at);
        let context = self.context(&component, None);
        let ty = self.any_type();
        let id = self.add_element(self.declaration(&context, element, name.clone(), ty));
        self.global.insert(name.clone(), id);
        let ty = self.type_of(&context, element, &name.local)?;
        self.schemas.elements[id.0 as usize].ty = ty;
        let mut members = vec![];
        for member in self.standing_for(name) {
            let component = self.components.all[&(Sort::Element, member.clone())].clone();
            let there = self.context(&component, None);
            members.push(self.global_element(&there, self.sources.element(component.at), &member)?);
        }
        self.schemas.elements[id.0 as usize].members = members;
        Ok(id)
    }

    /// Names of all elements that may stand for this one.
    fn standing_for(&self, name: &QName) -> Vec<QName> {
        let mut all: Vec<QName> = vec![];
        let mut next = vec![name];
        while let Some(head) = next.pop() {
            for member in self.substitutions.get(head).into_iter().flatten() {
                if member != name && !all.contains(member) {
                    all.push(member.clone());
                    next.push(member);
                }
            }
        }
        all
    }

    pub(crate) fn add_element(&mut self, element: ElementDecl) -> ElementId {
        self.schemas.elements.push(element);
        ElementId(self.schemas.elements.len() as u32 - 1)
    }

    pub(super) fn declaration(
        &self,
        context: &Context,
        element: Element<'_>,
        name: QName,
        ty: TypeId,
    ) -> ElementDecl {
        ElementDecl {
            name,
            ty,
            nillable: is_true(element.attribute("nillable")),
            is_abstract: is_true(element.attribute("abstract")),
            default: element.attribute("default").map(str::to_owned),
            fixed: element.attribute("fixed").map(str::to_owned),
            members: vec![],
            documentation: documentation(element),
            place: self.sources.place(At { source: context.source, node: element.id() }),
        }
    }

    /// The type of an element or attribute: named, within, or that of the element it may stand for.
    pub(super) fn type_of(
        &mut self,
        context: &Context,
        element: Element<'_>,
        owner: &str,
    ) -> Compiled<TypeId> {
        let within = element
            .children()
            .find(|child| child.namespace() == XSD && matches!(child.local(), "simpleType" | "complexType"));
        match (element.attribute("type"), within) {
            (Some(_), Some(_)) => {
                Err(self.failure(context, element, "has a `type` and a type within; expected one of them"))
            }
            (Some(name), None) => {
                let name = self.resolve(context, element, name)?;
                self.type_named(context, element, &name)
            }
            (None, Some(within)) => self.anonymous(context, within, owner),
            (None, None) => {
                let Some(head) = element.attribute("substitutionGroup") else { return Ok(self.any_type()) };
                let head = head.split_ascii_whitespace().next().unwrap_or_default();
                let head = self.resolve(context, element, head)?;
                let head = self.global_element(context, element, &head)?;
                Ok(self.schemas.element(head).ty)
            }
        }
    }

    pub(super) fn anonymous(
        &mut self,
        context: &Context,
        element: Element<'_>,
        owner: &str,
    ) -> Compiled<TypeId> {
        let at = At { source: context.source, node: element.id() };
        let component = Component { schema: context.schema, at, original: None };
        self.defined(component, None, Arc::from(owner), None)
    }
}

pub(super) fn is_true(value: Option<&str>) -> bool {
    value.is_some_and(|value| matches!(value.trim(), "true" | "1"))
}

/// The `extension` or `restriction` of a definition of a type.
pub(super) fn derivation(element: Element<'_>) -> Option<Element<'_>> {
    let is_step = |child: &Element<'_>| {
        child.namespace() == XSD && matches!(child.local(), "extension" | "restriction")
    };
    let content = element.children().find(|child| {
        child.namespace() == XSD && matches!(child.local(), "complexContent" | "simpleContent")
    });
    content.unwrap_or(element).children().find(is_step)
}

/// What the document says about a component, on one line.
pub(crate) fn documentation(element: Element<'_>) -> Option<String> {
    const SHOWN: usize = 400;
    let annotation = element.child(XSD, "annotation")?;
    let texts = annotation.children().filter(|child| child.is(XSD, "documentation"));
    let text: Vec<String> = texts.map(|child| child.text().into_owned()).collect();
    let line = text.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
    (!line.is_empty()).then(|| line.chars().take(SHOWN).collect())
}
