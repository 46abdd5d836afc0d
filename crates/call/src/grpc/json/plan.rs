//! How the messages of a contract are laid out: made once for each type, so that nothing is looked up by reflection while a
//! message goes by.
//!
//! A plan knows what is ordinary. Types that are not – groups, extensions, `Any`, `Struct` and others with a JSON form of
//! their own – are left to the library: see [`Form::Library`] and [`Content::Library`].

use std::collections::{BTreeMap, HashMap};

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor, Syntax};
use serde_json::{Map, Value};

use super::{known, read, write};

/// Choices (`oneof`) of a message that are told apart: a bit for each.
const CHOICES: u32 = u64::BITS;

/// The plans of a contract. Types name each other by their places, so a type may hold itself.
pub(super) struct Plans(Vec<Message>);

/// The plan of one type.
pub(super) struct Message {
    pub(super) descriptor: MessageDescriptor,
    pub(super) form: Form,
    /// In the order of their numbers.
    pub(super) fields: Vec<Field>,
    /// Both names of each field, with its place.
    names: BTreeMap<String, usize>,
    /// Fields that it cannot be without.
    pub(super) required: usize,
    /// Whether others add fields to it.
    pub(super) is_extended: bool,
}

/// The form that a type has in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// An object of its fields.
    Object,
    /// Seconds and nanoseconds as RFC 3339.
    Timestamp,
    /// Seconds and nanoseconds as `1.5s`.
    Duration,
    /// That of its only field.
    Wrapper,
    /// One that is left to the library.
    Library,
}

/// The plan of a field.
pub(super) struct Field {
    pub(super) number: u32,
    /// In JSON.
    pub(super) name: String,
    pub(super) shape: Shape,
    pub(super) content: Content,
    /// Whether its default value says that it was given.
    pub(super) has_presence: bool,
    pub(super) is_required: bool,
    /// The bit of its choice; zero where it is in none, or alone.
    pub(super) choice: u64,
    /// What it is where nobody says.
    pub(super) default: Value,
}

/// How many there are.
pub(super) enum Shape {
    One,
    List {
        /// Whether elements are written as one value.
        is_packed: bool,
    },
    Map {
        key: Kind,
        /// The key, and the value in JSON, of entries that do not say.
        default: (String, Value),
    },
}

/// What a field holds: each value, or the values of a map.
pub(super) enum Content {
    /// No message.
    Plain(Kind),
    /// The message with the plan in this place.
    Message(usize),
    /// What is left to the library: the whole message that has it is.
    Library,
}

impl Plans {
    /// The plans of these types and of all that they hold, with the places of the former.
    pub(super) fn of(types: impl Iterator<Item = MessageDescriptor>) -> (Self, Vec<usize>) {
        let mut wanted = Wanted::default();
        let places = types.map(|descriptor| wanted.place(&descriptor)).collect();
        let mut messages = vec![];
        while let Some(next) = wanted.all.get(messages.len()).cloned() {
            messages.push(Message::of(next, &mut wanted));
        }
        (Self(messages), places)
    }

    pub(super) fn at(&self, place: usize) -> &Message {
        &self.0[place]
    }
}

/// Types in the order in which they were found.
#[derive(Default)]
struct Wanted {
    all: Vec<MessageDescriptor>,
    places: HashMap<String, usize>,
}

impl Wanted {
    fn place(&mut self, descriptor: &MessageDescriptor) -> usize {
        let next = self.all.len();
        let place = *self.places.entry(descriptor.full_name().to_owned()).or_insert(next);
        if place == next {
            self.all.push(descriptor.clone());
        }
        place
    }
}

impl Message {
    fn of(descriptor: MessageDescriptor, wanted: &mut Wanted) -> Self {
        let form = form(&descriptor);
        let mut fields = vec![];
        let mut names = BTreeMap::new();
        if form != Form::Library {
            let choices = choices(&descriptor);
            for field in descriptor.fields() {
                fields.push(Field::of(&field, &choices, wanted));
            }
            for (place, field) in descriptor.fields().enumerate() {
                let is_meant = |name: &&str| read::field_of(&descriptor, name).as_ref() == Some(&field);
                let both = [field.json_name(), field.name()];
                names.extend(both.into_iter().filter(is_meant).map(|name| (name.to_owned(), place)));
            }
            // That one belongs to `Any`, and is no field to the reader.
            names.remove("@type");
        }
        let required = fields.iter().filter(|field| field.is_required).count();
        let is_extended = descriptor.extensions().len() > 0;
        Self { descriptor, form, fields, names, required, is_extended }
    }

    pub(super) fn named(&self, name: &str) -> Option<&Field> {
        self.fields.get(*self.names.get(name)?)
    }

    pub(super) fn numbered(&self, number: u32) -> Option<&Field> {
        // Most types number their fields from one without a gap.
        let guess = usize::try_from(number).ok()?.checked_sub(1)?;
        let guessed = self.fields.get(guess).filter(|field| field.number == number);
        guessed.or_else(|| {
            let place = self.fields.binary_search_by_key(&number, |field| field.number).ok()?;
            self.fields.get(place)
        })
    }
}

/// The descriptions of the well-known types come with the contract too: they have their form where they are what everybody
/// knows.
fn form(descriptor: &MessageDescriptor) -> Form {
    let name = descriptor.full_name();
    if !known::is_known(name) || name == "google.protobuf.Empty" {
        return Form::Object;
    }
    let fields: Vec<FieldDescriptor> = descriptor.fields().collect();
    let is_one =
        |field: &FieldDescriptor| !field.is_list() && !field.is_map() && field.containing_oneof().is_none();
    let is = |at: usize, number: u32, kind: &Kind| {
        fields.get(at).is_some_and(|field| {
            field.number() == number && field.kind() == *kind && is_one(field) && !field.supports_presence()
        })
    };
    let is_pair = || fields.len() == 2 && is(0, 1, &Kind::Int64) && is(1, 2, &Kind::Int32);
    match name {
        _ if descriptor.extensions().len() > 0 => Form::Library,
        "google.protobuf.Timestamp" if is_pair() => Form::Timestamp,
        "google.protobuf.Duration" if is_pair() => Form::Duration,
        _ if known::is_wrapper(name) => match fields.as_slice() {
            [only] if only.number() == 1 && is_one(only) && is_plain(only) => Form::Wrapper,
            _ => Form::Library,
        },
        _ => Form::Library,
    }
}

fn is_plain(field: &FieldDescriptor) -> bool {
    !matches!(field.kind(), Kind::Message(_)) && !is_unusual(field)
}

/// The bit of each choice between several fields, by its name.
fn choices(descriptor: &MessageDescriptor) -> BTreeMap<String, Option<u64>> {
    let several = descriptor.oneofs().filter(|oneof| oneof.fields().len() > 1);
    several.zip(0..).map(|(oneof, n)| (oneof.name().to_owned(), (n < CHOICES).then(|| 1 << n))).collect()
}

impl Field {
    fn of(field: &FieldDescriptor, choices: &BTreeMap<String, Option<u64>>, wanted: &mut Wanted) -> Self {
        let choice = field.containing_oneof().and_then(|oneof| choices.get(oneof.name()).copied());
        let kind = field.kind();
        let mut content = content(field, wanted);
        let default = if field.is_list() {
            Value::Array(vec![])
        } else if field.is_map() {
            Value::Object(Map::new())
        } else {
            default(field)
        };
        let shape = match &kind {
            Kind::Message(entry) if field.is_map() => {
                let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
                content = self::content(&value, wanted);
                let absent = match self::default(&key) {
                    Value::String(text) => text,
                    scalar => scalar.to_string(),
                };
                Shape::Map { key: key.kind(), default: (absent, self::default(&value)) }
            }
            _ if field.is_list() => Shape::List { is_packed: field.is_packed() },
            _ => Shape::One,
        };
        let is_own = field.parent_message().get_field_by_json_name(field.json_name()).as_ref() == Some(field);
        if choice == Some(None) || !is_own {
            content = Content::Library;
        }
        Self {
            number: field.number(),
            name: field.json_name().to_owned(),
            shape,
            content,
            has_presence: field.supports_presence(),
            is_required: field.is_required() && field.parent_file().syntax() != Syntax::Proto3,
            choice: choice.flatten().unwrap_or_default(),
            default,
        }
    }
}

fn content(field: &FieldDescriptor, wanted: &mut Wanted) -> Content {
    match field.kind() {
        _ if is_unusual(field) => Content::Library,
        Kind::Message(entry) if entry.is_map_entry() => Content::Library,
        Kind::Message(message) if form(&message) == Form::Library => Content::Library,
        Kind::Message(message) => Content::Message(wanted.place(&message)),
        plain => Content::Plain(plain),
    }
}

/// Groups; enums that take `null`, and those whose first value is not zero although nobody could tell that it was given.
fn is_unusual(field: &FieldDescriptor) -> bool {
    match field.kind() {
        Kind::Enum(descriptor) => {
            let may_be_untold = !field.supports_presence() && !field.is_list();
            descriptor.full_name() == "google.protobuf.NullValue"
                || (may_be_untold && descriptor.default_value().number() != 0)
        }
        _ => field.is_group(),
    }
}

/// The JSON of a field that was not sent; of a message, nothing.
fn default(field: &FieldDescriptor) -> Value {
    match field.kind() {
        Kind::Message(_) => Value::Null,
        kind => write::plain(field.default_value(), &kind),
    }
}
