//! WS-Addressing 1.0: where a message goes and which one it answers.

use super::decode::wrong;
use super::names::{WSA, short};
use super::xml::{Element, Writer};
use crate::error::CallError;

const ANONYMOUS: &str = "http://www.w3.org/2005/08/addressing/anonymous";

/// Writes the headers of a request.
pub(crate) fn write(writer: &mut Writer, action: &str, to: &str, id: &str, one_way: bool) {
    // None has to be understood: a document may say that addresses are used, and not that they must be.
    writer.leaf("wsa", WSA, "Action", action);
    writer.leaf("wsa", WSA, "To", to);
    writer.leaf("wsa", WSA, "MessageID", id);
    if !one_way {
        writer.start_as("wsa", WSA, "ReplyTo");
        writer.leaf("wsa", WSA, "Address", ANONYMOUS);
        writer.end();
    }
}

/// A name for a message, of random bytes (UUID version 4, RFC 9562).
pub(crate) fn message_id(mut random: [u8; 16]) -> String {
    random[6] = (random[6] & 0x0F) | 0x40;
    random[8] = (random[8] & 0x3F) | 0x80;
    let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("urn:uuid:{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// Checks that an answer is the one to our message.
///
/// # Errors
/// `BadAnswer` when it relates to another one, or is addressed and relates to none.
pub(crate) fn check(header: Option<Element<'_>>, sent: &str) -> Result<(), CallError> {
    let Some(header) = header else { return Ok(()) };
    let mut addressed = header.children().filter(|block| block.namespace() == WSA).peekable();
    let Some(first) = addressed.peek().copied() else { return Ok(()) };
    let reply = |block: &Element<'_>| {
        let kind =
            block.attribute("RelationshipType").unwrap_or("http://www.w3.org/2005/08/addressing/reply");
        block.local() == "RelatesTo" && kind == "http://www.w3.org/2005/08/addressing/reply"
    };
    match addressed.find(reply) {
        Some(block) if block.text().trim() == sent => Ok(()),
        Some(block) => Err(wrong(
            block,
            format!("the answer is to message `{}`, and `{sent}` was sent", short(block.text().trim())),
        )),
        None => Err(wrong(first, "expected a `RelatesTo` that tells which message is answered")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soap::xml::{Bounds, parse};

    #[test]
    fn answers_to_others_are_refused() {
        let id = message_id([0xFF; 16]);
        assert_eq!(id, "urn:uuid:ffffffff-ffff-4fff-bfff-ffffffffffff");
        let check_text = |text: &str| {
            let text = format!("<h xmlns:a='{WSA}'>{text}</h>");
            check(Some(parse(&text, &Bounds::DOCUMENT).unwrap().root()), &id)
        };
        check_text("").unwrap();
        check_text(&format!("<a:Action>x</a:Action><a:RelatesTo> {id} </a:RelatesTo>")).unwrap();
        check_text(&format!(
            "<a:RelatesTo RelationshipType='urn:other'>x</a:RelatesTo><a:RelatesTo>{id}</a:RelatesTo>"
        ))
        .unwrap();
        assert!(check_text("<a:RelatesTo>urn:x</a:RelatesTo>").unwrap_err().message.contains("`urn:x`"));
        assert!(check_text("<a:Action>x</a:Action>").unwrap_err().message.contains("RelatesTo"));
    }
}
