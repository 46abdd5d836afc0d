//! How schemas lead to each other: what one needs, and how long chains are.

use std::collections::VecDeque;

use serde_json::{Map, Value};

use super::{Definition, Edge, Schema};

/// What stands for a definition that is left out.
const LEFT_OUT: &str =
    "left out here, as the schemas of this operation are larger than is published; it is still checked";

/// All that a schema leads to.
pub(in crate::rest) struct Closure {
    /// Numbers of definitions, the nearest first.
    pub(in crate::rest) numbers: Vec<usize>,
    /// Bytes in memory, about, itself among them.
    pub(in crate::rest) memory: usize,
    /// Whether nothing was left out.
    pub(in crate::rest) whole: bool,
}

impl Closure {
    /// The definitions that a schema needs, the nearest first, while `memory` is enough for them.
    pub(in crate::rest) fn of(definitions: &[Definition], root: &Schema, memory: usize) -> Self {
        // Many operations are looked at one after the other: a list is faster than a set.
        let mut seen = vec![false; definitions.len()];
        let mut queue: VecDeque<usize> = VecDeque::new();
        let mut this = Self { numbers: vec![], memory: root.memory, whole: true };
        let add = |edges: &[Edge], queue: &mut VecDeque<usize>, seen: &mut [bool]| {
            for edge in edges {
                if !std::mem::replace(&mut seen[edge.to], true) {
                    queue.push_back(edge.to);
                }
            }
        };
        add(&root.edges, &mut queue, &mut seen);
        while let Some(number) = queue.pop_front() {
            let schema = &definitions[number].schema;
            if this.memory.saturating_add(schema.memory) > memory {
                this.whole = false;
                break;
            }
            this.memory += schema.memory;
            this.numbers.push(number);
            add(&schema.edges, &mut queue, &mut seen);
        }
        this
    }

    /// The schema with its `$defs`. Those that are left out hold for every value and say so.
    pub(in crate::rest) fn join(&self, definitions: &[Definition], root: &Schema) -> Value {
        let mut value = root.value.clone();
        let mut named = Map::new();
        let mut present = vec![false; definitions.len()];
        self.numbers.iter().for_each(|number| present[*number] = true);
        let all = self.numbers.iter().map(|number| &definitions[*number].schema).chain([root]);
        for edge in all.flat_map(|schema| &schema.edges).filter(|edge| !present[edge.to]) {
            let stub = serde_json::json!({ "$comment": LEFT_OUT });
            named.entry(definitions[edge.to].name.clone()).or_insert(stub);
        }
        for number in &self.numbers {
            let Definition { name, schema } = &definitions[*number];
            named.insert(name.clone(), schema.value.clone());
        }
        if !named.is_empty() {
            if !value.is_object() {
                value = serde_json::json!({ "allOf": [value] });
            }
            value["$defs"] = named.into();
        }
        value
    }
}

/// How long a chain of references gets: in schemas about the same value, and in definitions whatever they are about.
/// Definitions that lead to each other in a circle count all.
pub(in crate::rest) fn chains(definitions: &[Definition]) -> (usize, usize) {
    let longest = |in_place: bool| {
        let edges: Vec<Vec<usize>> = definitions
            .iter()
            .map(|definition| {
                let edges = definition.schema.edges.iter();
                edges.filter(|edge| edge.in_place || !in_place).map(|edge| edge.to).collect()
            })
            .collect();
        let weight = |node: usize| if in_place { definitions[node].schema.nested } else { 1 };
        longest_path(&edges, &weight)
    };
    (longest(true), longest(false))
}

/// The longest path of a graph, in the weights of its nodes, where those on a circle count all. Tarjan's components, without recursion:
/// a component is finished after all that it leads to.
fn longest_path(edges: &[Vec<usize>], weight: &dyn Fn(usize) -> usize) -> usize {
    const NEW: usize = usize::MAX;
    let count = edges.len();
    let (mut index, mut low) = (vec![NEW; count], vec![0; count]);
    let (mut on_stack, mut length) = (vec![false; count], vec![0; count]);
    let (mut stack, mut next, mut longest) = (vec![], 0, 0);
    for start in 0..count {
        if index[start] != NEW {
            continue;
        }
        let mut calls = vec![(start, 0)];
        while let Some((node, edge)) = calls.pop() {
            if edge == 0 {
                (index[node], low[node]) = (next, next);
                next += 1;
                stack.push(node);
                on_stack[node] = true;
            }
            if let Some(to) = edges[node].get(edge) {
                calls.push((node, edge + 1));
                if index[*to] == NEW {
                    calls.push((*to, 0));
                } else if on_stack[*to] {
                    low[node] = low[node].min(index[*to]);
                }
                continue;
            }
            if let Some((parent, _)) = calls.last() {
                low[*parent] = low[*parent].min(low[node]);
            }
            if low[node] == index[node] {
                let begin = stack.iter().rposition(|other| *other == node).unwrap_or_default();
                let members = stack.split_off(begin);
                members.iter().for_each(|member| on_stack[*member] = false);
                let beyond = members.iter().flat_map(|member| &edges[*member]).map(|to| length[*to]).max();
                let own: usize = members.iter().map(|member| weight(*member)).sum();
                let whole = own + beyond.unwrap_or(0);
                members.iter().for_each(|member| length[*member] = whole);
                longest = longest.max(whole);
            }
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_chain_is_found_with_circles_in_it() {
        let longest_path = |edges: &[Vec<usize>]| longest_path(edges, &|_| 1);
        assert_eq!(longest_path(&[]), 0);
        assert_eq!(longest_path(&[vec![], vec![]]), 1);
        assert_eq!(longest_path(&[vec![1, 2], vec![2], vec![]]), 3);
        // A circle of three behind one, before one.
        assert_eq!(longest_path(&[vec![1], vec![2], vec![3], vec![1, 4], vec![]]), 5);
        assert_eq!(longest_path(&[vec![0]]), 1);
        let chain: Vec<Vec<usize>> =
            (1..=100_000).map(|to| if to < 100_000 { vec![to] } else { vec![] }).collect();
        assert_eq!(longest_path(&chain), 100_000);
    }

    #[test]
    fn what_does_not_fit_is_left_out_from_far_to_near() {
        let definition = |name: &str, to: &[usize]| Definition {
            name: name.to_owned(),
            schema: Schema {
                value: serde_json::json!({ "title": name }),
                edges: to.iter().map(|to| Edge { to: *to, in_place: false }).collect(),
                memory: 10,
                nested: 1,
            },
        };
        let definitions = [definition("A", &[1]), definition("B", &[2]), definition("C", &[0])];
        let root = definition("root", &[0]).schema;
        let all = Closure::of(&definitions, &root, 1000);
        assert_eq!((all.numbers.as_slice(), all.memory, all.whole), (&[0, 1, 2][..], 40, true));
        let cut = Closure::of(&definitions, &root, 25);
        assert_eq!((cut.numbers.as_slice(), cut.whole), (&[0][..], false));
        let joined = cut.join(&definitions, &root);
        assert_eq!(joined["$defs"]["A"]["title"], "A");
        assert!(joined["$defs"]["B"]["$comment"].as_str().unwrap().contains("left out"));
    }
}
