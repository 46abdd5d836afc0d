//! Requests from threads that block, each with one connection that it keeps.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// When requests are sent.
#[derive(Clone, Copy)]
pub(crate) enum Load {
    /// Each as soon as the one before is answered.
    Closed,
    /// So many in a second, at fixed times. The time of a request counts from then, also when its connection was still busy.
    Paced(f64),
}

const REQUEST: &[u8] = b"GET /resource/42?view=full HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: bench/1.0\r\n\
    Accept: application/json\r\nAccept-Encoding: gzip\r\nX-Request-Id: 7b1d1b0f-6f5c-4e25-9b1c-0f5a3c6b7d8e\r\n\
    traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n";

/// How long each request took.
pub(crate) fn run(address: SocketAddr, connections: usize, load: Load, time: Duration) -> Vec<Duration> {
    let start = Instant::now() + Duration::from_millis(20);
    let threads: Vec<_> = (0..connections)
        .map(|number| std::thread::spawn(move || client(address, start, number, connections, load, time)))
        .collect();
    threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
}

fn client(
    address: SocketAddr,
    start: Instant,
    number: usize,
    connections: usize,
    load: Load,
    time: Duration,
) -> Vec<Duration> {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_nodelay(true).unwrap();
    let mut took = vec![];
    let mut buffer = vec![0; 16 << 10];
    std::thread::sleep(start.saturating_duration_since(Instant::now()));
    for turn in 0_u32.. {
        let due = match load {
            Load::Closed => Instant::now(),
            Load::Paced(rate) => {
                let due = start
                    + Duration::from_secs_f64((f64::from(turn) * connections as f64 + number as f64) / rate);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                due
            }
        };
        if due >= start + time {
            break;
        }
        connection.write_all(REQUEST).unwrap();
        read_answer(&mut connection, &mut buffer);
        took.push(due.elapsed());
    }
    took
}

/// Reads one answer of 200 with its length.
fn read_answer(connection: &mut TcpStream, buffer: &mut [u8]) {
    let (mut have, mut whole) = (0, None);
    while whole.is_none_or(|whole| have < whole) {
        let read = connection.read(&mut buffer[have..]).unwrap();
        assert!(read > 0, "the connection was closed");
        have += read;
        if whole.is_none()
            && let Some(end) = buffer[..have].windows(4).position(|window| window == b"\r\n\r\n")
        {
            let head = std::str::from_utf8(&buffer[..end]).unwrap().to_ascii_lowercase();
            assert!(head.starts_with("http/1.1 200"), "{head}");
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).unwrap();
            whole = Some(end + 4 + length.trim().parse::<usize>().unwrap());
        }
    }
    assert_eq!(Some(have), whole);
}
