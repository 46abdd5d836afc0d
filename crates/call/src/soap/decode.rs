//! XML to JSON, guided by the types; what does not fit is told with its place.

use base64::Engine as _;
use serde_json::{Map, Value};

use super::content::{Item, Misfit, assign, order};
use super::generic;
use super::mime::{Attachments, referred};
use super::names::{ENVELOPE11, ENVELOPE12, QName, WSU, XOP, XSI, short};
use super::values::to_json;
use super::xml::{Content as Xml, Element};
use super::xsd::{
    ANY, Complex, Content, ElementDecl, ElementId, Keys, Particle, Schemas, TypeId, TypeKind, equal,
};
use crate::error::{CallError, ErrorKind};

/// What is wrong with an answer: `/Envelope/Body/price (line 4, column 7)`, and what was expected.
pub(crate) fn wrong(element: Element<'_>, message: impl Into<String>) -> CallError {
    let place = format!("{}, {}", element.path(), element.place());
    CallError::new(ErrorKind::BadAnswer, place, message)
}

type Decoded<T> = Result<T, CallError>;

/// Reads elements as values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decoder<'s> {
    pub(crate) schemas: &'s Schemas,
    /// Bytes that stand outside of the message (XOP).
    pub(crate) attachments: &'s Attachments,
}

impl Decoder<'_> {
    /// The value of an element of this declaration.
    pub(crate) fn element(&self, id: ElementId, element: Element<'_>) -> Decoded<Value> {
        let declared = self.schemas.element(id);
        let ty = self.type_of(declared, element)?;
        let nil = element.attribute_of(XSI, "nil").is_some_and(|nil| matches!(nil.trim(), "true" | "1"));
        if nil {
            return self.nil(declared, ty, element);
        }
        match &self.schemas.ty(ty).kind {
            TypeKind::Any => self.any(element),
            TypeKind::Simple(_) => {
                self.no_attributes(element)?;
                self.text(ty, declared, element)
            }
            TypeKind::Complex(complex) => {
                let mut object = Map::new();
                if ty != declared.ty {
                    object.insert("@xsi:type".to_owned(), self.schemas.type_key(ty).into());
                }
                self.complex(complex, element, &mut object)?;
                Ok(Value::Object(object))
            }
            // Operations that need such a type are refused when the document is read.
            TypeKind::Failed(failure) => Err(wrong(element, failure.message.clone())),
            TypeKind::Unread => Err(wrong(element, "a type that was not read")),
        }
    }

    /// The declared type, or the one that `xsi:type` names.
    fn type_of(&self, declared: &ElementDecl, element: Element<'_>) -> Decoded<TypeId> {
        let ty = self.schemas.ty(declared.ty);
        let Some(name) = element.attribute_of(XSI, "type") else {
            if ty.is_abstract {
                return Err(wrong(element, format!("type {} is abstract; expected `xsi:type`", ty.label())));
            }
            return Ok(declared.ty);
        };
        let name = element.qname(name).map_err(|message| wrong(element, message))?;
        if matches!(ty.kind, TypeKind::Any) || (ty.name.as_ref() == Some(&name) && !ty.is_abstract) {
            return Ok(declared.ty);
        }
        let Some(found) = self.schemas.named.get(&name).copied() else {
            // A built-in type that nothing else needs narrows a text, and the declared type says how to read it.
            if matches!(ty.kind, TypeKind::Simple(_)) {
                return Ok(declared.ty);
            }
            return Err(wrong(element, format!("type `{}` is not known", short(&name.to_string()))));
        };
        let fits = match (&ty.kind, &self.schemas.ty(found).kind) {
            (TypeKind::Simple(_), TypeKind::Simple(_)) => true,
            (TypeKind::Complex(_), TypeKind::Complex(_)) => self.schemas.is_derived(found, declared.ty),
            _ => false,
        };
        if !fits {
            return Err(wrong(
                element,
                format!("type `{}` is not derived from type {}", short(&name.to_string()), ty.label()),
            ));
        }
        if self.schemas.ty(found).is_abstract {
            return Err(wrong(element, format!("type `{}` is abstract", short(&name.to_string()))));
        }
        Ok(found)
    }

    fn nil(&self, declared: &ElementDecl, ty: TypeId, element: Element<'_>) -> Decoded<Value> {
        if !declared.nillable {
            return Err(wrong(element, format!("`{}` is nil and not nillable", element.local())));
        }
        if element.children().next().is_some() || !element.text().trim().is_empty() {
            return Err(wrong(element, format!("`{}` is nil and not empty", element.local())));
        }
        let mut object = Map::new();
        if let TypeKind::Complex(complex) = &self.schemas.ty(ty).kind {
            self.attributes(complex, element, &mut object)?;
            // What is only a default is not worth an object.
            let own = element.attributes().any(|(namespace, _, _)| !is_technical(namespace));
            if own {
                if ty != declared.ty {
                    object.insert("@xsi:type".to_owned(), self.schemas.type_key(ty).into());
                }
                object.insert("#nil".to_owned(), true.into());
                return Ok(Value::Object(object));
            }
        }
        Ok(Value::Null)
    }

    fn no_attributes(&self, element: Element<'_>) -> Decoded<()> {
        match element.attributes().find(|(namespace, _, _)| !is_technical(namespace)) {
            Some((_, local, _)) => Err(wrong(element, format!("unexpected attribute `{}`", short(local)))),
            None => Ok(()),
        }
    }

    /// Bytes that an `xop:Include` stands for, in Base64 (XOP, 3.2).
    fn included(&self, element: Element<'_>) -> Option<Decoded<String>> {
        let include = element.child(XOP, "Include")?;
        let part = include.attribute("href").and_then(referred).and_then(|id| self.attachments.get(&id));
        let part = part.ok_or_else(|| {
            wrong(include, "the part that stands for this content did not come with the answer")
        });
        Some(part.map(|bytes| base64::engine::general_purpose::STANDARD.encode(bytes)))
    }

    fn text(&self, ty: TypeId, declared: &ElementDecl, element: Element<'_>) -> Decoded<Value> {
        if let Some(included) = self.included(element) {
            return self.value(ty, &included?, element);
        }
        if let Some(child) = element.children().next() {
            return Err(wrong(
                child,
                format!("unexpected element `{}`; expected a text", short(child.local())),
            ));
        }
        let text = element.text();
        let given = declared.fixed.as_deref().or(declared.default.as_deref());
        let text = match given {
            Some(given) if text.is_empty() => given,
            _ => &text,
        };
        if let Some(fixed) = &declared.fixed
            && !equal(None, fixed.trim(), text.trim())
        {
            return Err(wrong(
                element,
                format!("expected `{}`, the only value, found `{}`", short(fixed), short(text)),
            ));
        }
        self.value(ty, text, element)
    }

    fn value(&self, ty: TypeId, text: &str, element: Element<'_>) -> Decoded<Value> {
        let mut names = element;
        to_json(self.schemas, ty, text, &mut names).map_err(|message| wrong(element, message))
    }

    fn complex(
        &self,
        complex: &Complex,
        element: Element<'_>,
        object: &mut Map<String, Value>,
    ) -> Decoded<()> {
        self.attributes(complex, element, object)?;
        match &complex.content {
            Content::Empty => {
                if let Some(child) = element.children().next() {
                    return Err(wrong(
                        child,
                        format!(
                            "unexpected element `{}`; `{}` is empty",
                            short(child.local()),
                            element.local()
                        ),
                    ));
                }
                self.no_text(element)
            }
            Content::Text(ty) => {
                if let Some(included) = self.included(element) {
                    object.insert("#text".to_owned(), self.value(*ty, &included?, element)?);
                    return Ok(());
                }
                if let Some(child) = element.children().next() {
                    return Err(wrong(
                        child,
                        format!("unexpected element `{}`; expected a text", short(child.local())),
                    ));
                }
                object.insert("#text".to_owned(), self.value(*ty, &element.text(), element)?);
                Ok(())
            }
            Content::Elements { particle, mixed } => {
                if *mixed {
                    let text = element.text();
                    if !text.trim().is_empty() {
                        object.insert("#text".to_owned(), text.into());
                    }
                } else {
                    self.no_text(element)?;
                }
                self.elements(&complex.keys, particle, element, object)
            }
        }
    }

    fn no_text(&self, element: Element<'_>) -> Decoded<()> {
        for content in element.contents() {
            if let Xml::Text(text) = content
                && !text.trim().is_empty()
            {
                return Err(wrong(
                    element,
                    format!("unexpected text `{}` in `{}`", short(text.trim()), element.local()),
                ));
            }
        }
        Ok(())
    }

    fn attributes(
        &self,
        complex: &Complex,
        element: Element<'_>,
        object: &mut Map<String, Value>,
    ) -> Decoded<()> {
        for (namespace, local, value) in element.attributes() {
            let known = complex.attributes.iter().find(|known| known.name.is(namespace, local));
            if let Some(known) = known {
                if known.fixed.as_ref().is_some_and(|fixed| !equal(None, fixed.trim(), value.trim())) {
                    let fixed = known.fixed.as_deref().unwrap_or_default();
                    return Err(wrong(
                        element,
                        format!(
                            "attribute `{local}`: expected `{}`, the only value, found `{}`",
                            short(fixed),
                            short(value)
                        ),
                    ));
                }
                let value = self.value(known.ty, value, element).map_err(|mut error| {
                    error.message = format!("attribute `{local}`: {}", error.message);
                    error
                })?;
                object.insert(known.key.clone(), value);
            } else if namespace == XSI {
            } else if complex.any_attribute.as_ref().is_some_and(|any| any.takes(namespace)) {
                object.insert(format!("@{}", QName::new(namespace, local)), value.into());
            } else if !is_technical(namespace) {
                return Err(wrong(element, format!("unexpected attribute `{}`", short(local))));
            }
        }
        for known in &complex.attributes {
            if object.contains_key(&known.key) {
                continue;
            }
            if known.required {
                return Err(wrong(element, format!("attribute `{}` is missing", known.name.local)));
            }
            if let Some(value) = known.default.as_ref().or(known.fixed.as_ref()) {
                // A default that is not of its own type says nothing about the answer.
                if let Ok(value) = self.value(known.ty, value, element) {
                    object.insert(known.key.clone(), value);
                }
            }
        }
        Ok(())
    }

    fn elements(
        &self,
        keys: &Keys,
        particle: &Particle,
        element: Element<'_>,
        object: &mut Map<String, Value>,
    ) -> Decoded<()> {
        let children: Vec<Element<'_>> = element.children().collect();
        let items: Vec<Item<'_>> = children
            .iter()
            .map(|child| Item {
                key: keys.by_name.get(&child.name()).copied().unwrap_or(ANY),
                namespace: child.namespace(),
            })
            .collect();
        let declared =
            assign(self.schemas, particle, &items).map_err(|misfit| misfits(&misfit, &children, element))?;
        let mut wild = vec![];
        let mut sequence = vec![];
        for ((child, item), declared) in children.iter().zip(&items).zip(declared) {
            let key = if declared { keys.list.get(item.key as usize) } else { None };
            let Some(key) = key else {
                sequence.push(ANY);
                wild.push(generic::read(*child));
                continue;
            };
            sequence.push(item.key);
            let value = self.element(key.element, *child)?;
            if key.is_list() {
                let list = object.entry(&key.key).or_insert_with(|| Value::Array(vec![]));
                if let Value::Array(list) = list {
                    list.push(value);
                }
            } else {
                object.insert(key.key.clone(), value);
            }
        }
        if keys.loose {
            self.note_order(keys, particle, &sequence, object);
        }
        if !wild.is_empty() {
            object.insert("#any".to_owned(), wild.into());
        }
        Ok(())
    }

    /// Tells the order where it is another one than writing would give.
    fn note_order(
        &self,
        keys: &Keys,
        particle: &Particle,
        sequence: &[u32],
        object: &mut Map<String, Value>,
    ) {
        let mut counts = vec![0_u32; keys.list.len() + 1];
        for key in sequence {
            let slot = if *key == ANY { keys.list.len() } else { *key as usize };
            counts[slot] += 1;
        }
        if order(self.schemas, keys, particle, &counts).is_ok_and(|usual| usual == sequence) {
            return;
        }
        let names =
            sequence.iter().map(|key| keys.list.get(*key as usize).map_or("#any", |key| key.key.as_str()));
        object.insert("#order".to_owned(), names.collect());
    }

    /// A value of `xsd:anyType`: by its `xsi:type` where that is known, a text where there is only text.
    fn any(&self, element: Element<'_>) -> Decoded<Value> {
        let mut object = Map::new();
        if let Some(name) = element.attribute_of(XSI, "type") {
            let name = element.qname(name).map_err(|message| wrong(element, message))?;
            let key = self.schemas.named.get(&name).copied();
            match key.map(|id| (id, &self.schemas.ty(id).kind)) {
                Some((id, TypeKind::Complex(complex))) => {
                    object.insert("@xsi:type".to_owned(), self.schemas.type_key(id).into());
                    self.complex(complex, element, &mut object)?;
                    return Ok(Value::Object(object));
                }
                Some((id, TypeKind::Simple(_))) if element.children().next().is_none() => {
                    object.insert("@xsi:type".to_owned(), self.schemas.type_key(id).into());
                    object.insert("#text".to_owned(), self.value(id, &element.text(), element)?);
                    return Ok(Value::Object(object));
                }
                _ => {}
            }
        }
        if element.children().next().is_none() && element.attributes().next().is_none() {
            return Ok(Value::String(element.text().into_owned()));
        }
        generic::read_within(element, &mut object);
        Ok(Value::Object(object))
    }
}

/// Attributes that belong to the message and not to its content.
fn is_technical(namespace: &str) -> bool {
    matches!(namespace, XSI | ENVELOPE11 | ENVELOPE12 | WSU)
}

fn misfits(misfit: &Misfit, children: &[Element<'_>], element: Element<'_>) -> CallError {
    match children.get(misfit.at) {
        Some(child) => {
            let namespace = child.namespace();
            let of = if namespace == element.namespace() {
                String::new()
            } else {
                format!(" of namespace `{}`", short(namespace))
            };
            wrong(
                *child,
                format!("unexpected element `{}`{of}; expected {}", short(child.local()), misfit.expected),
            )
        }
        None => wrong(element, format!("expected {} in `{}`, which ends", misfit.expected, element.local())),
    }
}
