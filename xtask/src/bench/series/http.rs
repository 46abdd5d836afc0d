//! HTTP as far as a benchmark needs it: one connection that stays open, and answers whose parts are timed. A library's
//! own work would be in the figures.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a server may be silent.
const PATIENCE: Duration = Duration::from_secs(120);
/// Largest answer, 1 GiB.
const MOST: usize = 1 << 30;

/// A connection to one server.
pub(super) struct Client {
    stream: BufReader<TcpStream>,
    host: String,
    token: Option<String>,
}

/// What a server answered.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// Until the first byte had come: the server's own time, unless it answers while it works.
    pub(super) first: Duration,
    /// Until the last byte had come.
    pub(super) whole: Duration,
}

impl Answer {
    /// The start of the body, for messages.
    pub(super) fn shown(&self) -> String {
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(300)]);
        format!("{} {}", self.status, text.trim_end())
    }
}

impl Client {
    pub(super) fn new(port: u16, token: Option<String>) -> Result<Self, String> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let stream = TcpStream::connect(address).map_err(|e| format!("cannot connect to {address}: {e}"))?;
        let set = stream.set_nodelay(true).and_then(|()| stream.set_read_timeout(Some(PATIENCE)));
        set.map_err(|e| format!("cannot set up the connection to {address}: {e}"))?;
        Ok(Self { stream: BufReader::with_capacity(1 << 16, stream), host: address.to_string(), token })
    }

    pub(super) fn get(&mut self, path: &str) -> Result<Answer, String> {
        self.send("GET", path, &[], &[])
    }

    pub(super) fn post(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, String> {
        self.send("POST", path, headers, body)
    }

    fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, String> {
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n", self.host, body.len());
        let token = self.token.as_ref().map(|token| format!("Bearer {token}"));
        let token = token.iter().map(|token| ("Authorization", token.as_str()));
        for (name, value) in headers.iter().copied().chain(token) {
            // Writing to a String cannot fail.
            let _ = write!(head, "{name}: {value}\r\n");
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        let begun = Instant::now();
        let wrong = |e: std::io::Error| format!("{method} {path} at {}: {e}", self.host);
        self.stream.get_mut().write_all(&bytes).map_err(wrong)?;
        self.stream.fill_buf().map_err(wrong)?;
        let first = begun.elapsed();
        let (status, body) = answer(&mut self.stream).map_err(wrong)?;
        Ok(Answer { status, body, first, whole: begun.elapsed() })
    }
}

fn answer(stream: &mut impl std::io::BufRead) -> std::io::Result<(u16, Vec<u8>)> {
    let status = line(stream)?;
    let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status: u16 = status.ok_or_else(|| invalid("no status line"))?;
    let (mut length, mut chunked) = (None, false);
    loop {
        let header = line(stream)?;
        let Some((name, value)) = header.split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse::<usize>().ok(),
            "transfer-encoding" => chunked = value.trim().eq_ignore_ascii_case("chunked"),
            _ => {}
        }
    }
    let mut body = Vec::new();
    if chunked {
        loop {
            let size = line(stream)?;
            let size = usize::from_str_radix(size.trim(), 16).map_err(|_| invalid("no size of a chunk"))?;
            part(stream, size, &mut body)?;
            line(stream)?;
            if size == 0 {
                break;
            }
        }
    } else if status != 204 {
        part(stream, length.ok_or_else(|| invalid("an answer without length"))?, &mut body)?;
    }
    Ok((status, body))
}

fn part(stream: &mut impl std::io::BufRead, size: usize, body: &mut Vec<u8>) -> std::io::Result<()> {
    if size > MOST.saturating_sub(body.len()) {
        return Err(invalid("an answer of more than 1 GiB"));
    }
    body.reserve(size);
    let got = stream.take(size as u64).read_to_end(body)?;
    if got < size { Err(invalid("the answer ended early")) } else { Ok(()) }
}

fn line(stream: &mut impl std::io::BufRead) -> std::io::Result<String> {
    let mut line = Vec::new();
    stream.take(1 << 16).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(invalid("the connection was closed"));
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

fn invalid(why: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, why)
}

/// `name=value&…` of a form or an address.
pub(super) fn form(pairs: &[(&str, String)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        for (piece, end) in [(*name, "="), (value.as_str(), "")] {
            for byte in piece.bytes() {
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    text.push(char::from(byte));
                } else {
                    let _ = write!(text, "%{byte:02X}");
                }
            }
            text.push_str(end);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_with_a_length_in_chunks_and_without_a_body() {
        let read = |text: &str| answer(&mut text.as_bytes()).map_err(|e| e.to_string());
        assert_eq!(read("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokX"), Ok((200, b"ok".to_vec())));
        let chunks =
            "HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n";
        assert_eq!(read(chunks), Ok((400, b"abc0123456789".to_vec())));
        assert_eq!(read("HTTP/1.1 204 No Content\r\n\r\n"), Ok((204, Vec::new())));
        assert!(read("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok").unwrap_err().contains("ended early"));
        assert!(read("HTTP/1.1 200 OK\r\n\r\n").unwrap_err().contains("without length"));
        assert!(read("").unwrap_err().contains("closed"));
    }

    #[test]
    fn what_a_query_is_made_of_survives_a_form() {
        let pairs = [("query", "a{b=\"ü\"} + 1".to_owned()), ("step", "60".to_owned())];
        assert_eq!(form(&pairs), "query=a%7Bb%3D%22%C3%BC%22%7D%20%2B%201&step=60");
    }
}
