//! What is a runtime expression and what is a literal. Evaluating is not done here.

/// Whitespace as the patterns of JSON Schema (ECMA-262) mean it.
pub(crate) fn is_space(c: char) -> bool {
    matches!(c, '\u{9}'..='\u{d}' | ' ' | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}')
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202f}' | '\u{205f}' | '\u{3000}' | '\u{feff}')
}

/// Whether a text is an expression in strict mode, `${ … }`, on one line as the schema wants it.
#[must_use]
pub fn is_expression(text: &str) -> bool {
    let inside = text.trim_matches(is_space).strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    let line_end = ['\n', '\r', '\u{2028}', '\u{2029}'];
    inside.is_some_and(|inside| !inside.is_empty() && !inside.contains(line_end))
}

/// Whether a text begins like an expression, so that it is no URI.
pub(crate) fn begins_expression(text: &str) -> bool {
    text.trim_start_matches(is_space).starts_with("${")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_wrapped_and_on_one_line() {
        for expression in ["${ .a }", "  ${.a}\n", "${}}", "${ \"a\" + \"}\" }"] {
            assert!(is_expression(expression), "{expression}");
        }
        for literal in ["", "${}", ".a", "$ {.a}", "a ${ .b }", "${ .a } b", "${ .a\n| .b }", "${"] {
            assert!(!is_expression(literal), "{literal}");
        }
    }
}
