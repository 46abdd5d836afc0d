//! Every task of a definition, wherever it stands.

use super::{Task, TaskKind};
use crate::definition::Definition;
use crate::program::PERMIT;

impl Definition {
    /// The tasks that wait for a permit, each before those within it.
    #[must_use]
    pub fn waiting(&self) -> Vec<&Task> {
        let mut found = Vec::new();
        let of_extensions = self.r#use.extensions.iter().flat_map(|one| one.before.iter().chain(&one.after));
        for task in self.tasks.iter().chain(self.r#use.functions.values()).chain(of_extensions) {
            task.each(&mut |task| {
                if task.permit().is_some() {
                    found.push(task);
                }
            });
        }
        found
    }
}

impl Task {
    /// What it waits for a permit with; not looked into here.
    #[must_use]
    pub fn permit(&self) -> Option<&serde_json::Value> {
        self.metadata.get(PERMIT).filter(|with| with.is_object())
    }

    /// The tasks that it consists of.
    fn inner(&self) -> Vec<&Self> {
        match &self.kind {
            TaskKind::Do(tasks) => tasks.iter().collect(),
            TaskKind::For(each) => each.tasks.iter().collect(),
            TaskKind::Fork(fork) => fork.branches.iter().collect(),
            TaskKind::Listen(listen) => listen.foreach.iter().flat_map(|each| &each.tasks).collect(),
            TaskKind::Try(attempt) => {
                attempt.tasks.iter().chain(attempt.catch.tasks.iter().flatten()).collect()
            }
            TaskKind::Call(_)
            | TaskKind::Emit(_)
            | TaskKind::Raise(_)
            | TaskKind::Run(_)
            | TaskKind::Set(_)
            | TaskKind::Switch(_)
            | TaskKind::Wait(_) => Vec::new(),
        }
    }

    fn each<'a>(&'a self, see: &mut dyn FnMut(&'a Self)) {
        see(self);
        self.inner().into_iter().for_each(|task| task.each(see));
    }

    /// Whether it is another task or stands within it.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        let rest = self.reference.strip_prefix(&other.reference);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::workflow;

    #[test]
    fn tasks_that_wait_are_found_wherever_they_stand() {
        let waits = |name: &str| format!("{name}: {{set: {{a: 1}}, metadata: {{flexible: {{}}}}}}");
        let text = format!(
            "use: {{functions: {{{}}}, extensions: [{{x: {{extend: all, before: [{{{}}}]}}}}]}}\ndo: [{{d: {{do: [{{{}}}]}}}}, {{t: {{try: [{{a: {{set: {{a: 1}}}}}}], catch: {{do: [{{{}}}]}}}}}}, {{f: {{fork: {{branches: [{{{}}}]}}}}}}, {{l: {{for: {{in: '[]'}}, do: [{{{}}}]}}}}]",
            waits("fun"),
            waits("ext"),
            waits("inner"),
            waits("caught"),
            waits("branch"),
            waits("looped")
        );
        let definition = workflow(&text);
        let names: Vec<&str> = definition.waiting().iter().map(|task| task.name.as_str()).collect();
        assert_eq!(names, ["inner", "caught", "branch", "looped", "fun", "ext"]);
        assert!(definition.waiting()[0].is_within(&definition.tasks[0]));
        assert!(!definition.waiting()[1].is_within(&definition.tasks[0]));
    }
}
