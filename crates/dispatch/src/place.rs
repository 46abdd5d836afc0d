//! Where the rows of a programme lie for the method that uses the structure of many storages: a group of storages with rows of its
//! own is a part, and so is a feeder with the groups behind it, where nothing else ties it to others.

use crate::connection::Behind;
use crate::group::Group;
use crate::problem::Problem;

/// The place of a group's rows, or of a feeder's balance, within a part: step by step, and within a step one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) part: usize,
    /// Places of a step.
    stride: usize,
    first: usize,
}

impl Place {
    /// Of a row in a step; `further` is 0 or 1.
    pub(crate) fn at(self, t: usize, further: usize) -> usize {
        t * self.stride + self.first + further
    }
}

/// Places of groups and of feeders; a feeder without one has rows that parts share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    pub(crate) groups: Vec<Place>,
    pub(crate) feeders: Vec<Option<Place>>,
}

/// Names of the parts, in their order.
pub(crate) fn part_names(problem: &Problem, groups: &[Group]) -> Vec<String> {
    let groups = groups.iter().map(|group| &problem.storages[group.members[0]].id);
    let work = problem.work.iter().map(|work| &work.id);
    let feeders = problem.feeders.iter().map(|feeder| &feeder.id);
    groups.chain(work).chain(feeders).cloned().collect()
}

/// Finds the places. A feeder is a part when every group behind it has it as its innermost one, and when it has neither work nor
/// generators, whose rows meet many steps.
pub(crate) fn places(problem: &Problem, behind: &Behind<'_>, groups: &[Group]) -> Places {
    let feeders_of = |g: &Group| behind.feeders(&problem.storages[g.members[0]].id);
    let innermost = |g: &Group| feeders_of(g).min_by_key(|&feeder| problem.feeders[feeder].members.len());
    let mut parts = vec![true; problem.feeders.len()];
    let tied = problem.work.iter().map(|work| &work.id).chain(problem.generators.iter().map(|one| &one.id));
    tied.flat_map(|id| behind.feeders(id)).for_each(|feeder| parts[feeder] = false);
    let mut within = vec![0; problem.feeders.len()];
    for group in groups {
        let inner = innermost(group);
        for feeder in feeders_of(group) {
            parts[feeder] &= Some(feeder) == inner;
            within[feeder] += 1;
        }
    }
    let first_feeder = groups.len() + problem.work.len();
    let stride = |feeder: usize| 2 * within[feeder] + 1;
    let feeder = |(index, is_part): (usize, &bool)| {
        is_part.then(|| Place { part: first_feeder + index, stride: stride(index), first: 2 * within[index] })
    };
    let feeders: Vec<Option<Place>> = parts.iter().enumerate().map(feeder).collect();
    let mut taken = vec![0; problem.feeders.len()];
    let group = |(g, group): (usize, &Group)| match innermost(group).filter(|&feeder| parts[feeder]) {
        Some(feeder) => {
            let first = taken[feeder];
            taken[feeder] += 2;
            Place { part: first_feeder + feeder, stride: stride(feeder), first }
        }
        None => Place { part: g, stride: 2, first: 0 },
    };
    Places { groups: groups.iter().enumerate().map(group).collect(), feeders }
}
