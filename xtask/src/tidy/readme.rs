//! The two READMEs say the same: as many headings of each level in the same order, and the same code blocks.

use super::Problem;
use super::docs::prose;
use crate::tree::Tree;

const ENGLISH: &str = "README.md";
const CHINESE: &str = "README.zh-CN.md";

pub(super) fn twins(tree: &Tree) -> Vec<Problem> {
    let texts = [ENGLISH, CHINESE].map(|path| tree.text(path).ok_or(path));
    let (english, chinese) = match texts {
        [Ok(english), Ok(chinese)] => (english, chinese),
        [Err(path), _] | [_, Err(path)] => return vec![Problem::in_file(path, "the file is missing")],
    };
    let mut problems = Vec::new();
    if headings(english) != headings(chinese) {
        let message = format!(
            "heading levels {:?} differ from those of {ENGLISH}, {:?}",
            headings(chinese),
            headings(english)
        );
        problems.push(Problem::in_file(CHINESE, message));
    }
    let (ours, theirs) = (code_blocks(english), code_blocks(chinese));
    if ours.len() != theirs.len() {
        let message = format!("{} code blocks, but {ENGLISH} has {}", theirs.len(), ours.len());
        problems.push(Problem::in_file(CHINESE, message));
    }
    for (theirs, ours) in theirs.iter().zip(&ours).filter(|(theirs, ours)| theirs.text != ours.text) {
        let message = format!("this code block differs from the one at {ENGLISH}:{}", ours.line);
        problems.push(Problem::at(CHINESE, theirs.line, message));
    }
    problems
}

/// Levels of the headings in order: `# A`, `## B` → `[1, 2]`.
fn headings(text: &str) -> Vec<usize> {
    let level = |line: &str| line.chars().take_while(|c| *c == '#').count();
    prose(text)
        .map(|(_, line)| (level(line), line))
        .filter(|(n, line)| *n > 0 && line[*n..].starts_with(' '))
        .map(|(n, _)| n)
        .collect()
}

#[derive(Debug, Default)]
struct Block<'a> {
    /// Line of the opening fence.
    line: usize,
    text: Vec<&'a str>,
}

fn code_blocks(text: &str) -> Vec<Block<'_>> {
    let (mut blocks, mut open) = (Vec::new(), None::<Block<'_>>);
    for (index, line) in text.lines().enumerate() {
        let fence = line.trim_start().starts_with("```");
        match (&mut open, fence) {
            (None, true) => open = Some(Block { line: index + 1, text: vec![line] }),
            (None, false) => {}
            (Some(_), true) => blocks.extend(open.take()),
            (Some(block), false) => block.text.push(line),
        }
    }
    blocks.extend(open);
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "# SOS\n\n## Start\n```sh\n./run # a comment, no heading\n```\n";

    fn found(chinese: &str) -> Vec<String> {
        let problems = twins(&Tree::of(&[(ENGLISH, ONE), (CHINESE, chinese)]));
        problems.into_iter().map(|p| p.to_string()).collect()
    }

    #[test]
    fn twins_pass_whatever_their_language() {
        assert!(found("# SOS\n中文\n## 开始\n```sh\n./run # a comment, no heading\n```\n").is_empty());
    }

    #[test]
    fn another_heading_another_block_and_another_command_are_found() {
        assert!(found(&format!("{ONE}\n### More\n"))[0].contains("heading levels [1, 2, 3]"));
        assert!(found(&format!("{ONE}```\nx\n```\n"))[0].contains("2 code blocks"));
        assert!(found(&ONE.replace("./run", "./go"))[0].starts_with("README.zh-CN.md:4: "));
    }

    #[test]
    fn a_missing_twin_is_found() {
        assert_eq!(twins(&Tree::of(&[(ENGLISH, ONE)])).len(), 1);
    }
}
