//! What the keywords of JSON Schema hold.

/// What stands at a keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// A schema for a part of the value.
    Part,
    /// A schema for the value itself.
    Same,
    /// A map of schemas for parts.
    Parts,
    /// A map of schemas for the value itself.
    SameMap,
    /// A list of schemas for parts.
    PartList,
    /// A list of schemas for the value itself.
    SameList,
    Number,
    /// A whole number of zero or more.
    Count,
    Flag,
    Text,
    /// Any value.
    Data,
    /// A list of any values.
    DataList,
    /// A list of names.
    Names,
    /// A map of lists of names.
    NameLists,
}

/// What a keyword holds that stays as it is; `None` for those that are left out or treated on their own.
pub(super) fn holds(keyword: &str) -> Option<Holds> {
    Some(match keyword {
        "additionalProperties"
        | "unevaluatedProperties"
        | "unevaluatedItems"
        | "contains"
        | "propertyNames"
        | "contentSchema" => Holds::Part,
        "not" | "if" | "then" | "else" => Holds::Same,
        "properties" => Holds::Parts,
        "dependentSchemas" => Holds::SameMap,
        "prefixItems" => Holds::PartList,
        "allOf" | "anyOf" | "oneOf" => Holds::SameList,
        "minimum" | "maximum" | "multipleOf" => Holds::Number,
        "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties"
        | "minContains" | "maxContains" => Holds::Count,
        "uniqueItems" | "readOnly" | "writeOnly" | "deprecated" => Holds::Flag,
        "title" | "description" | "format" | "contentEncoding" | "contentMediaType" => Holds::Text,
        "default" | "const" => Holds::Data,
        "enum" => Holds::DataList,
        "required" => Holds::Names,
        "dependentRequired" => Holds::NameLists,
        _ => return None,
    })
}
