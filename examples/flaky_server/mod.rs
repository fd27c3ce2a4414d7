//! An HTTP server that fails by script: by the page's number and how often it was asked for, never at random.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

const PAGES: usize = 300;
const MISSING: usize = 113;

/// What becomes of one request.
enum Answer {
    Page,
    SlowPage,
    /// The connection ends in the middle of the page.
    HalfPage,
    /// The connection ends before the first byte.
    HangUp,
    Busy,
    BusyForOneSecond,
    NotFound,
}

/// What becomes of the `nth` request for `page`, both from 1.
fn script(page: usize, nth: u32) -> Answer {
    match (page, nth) {
        (MISSING, _) => Answer::NotFound,
        // This one needs each of the five attempts that the client has.
        (222, 1..=4) => Answer::Busy,
        (_, 1..=2) if page % 10 == 3 => Answer::Busy,
        (_, 1) if page % 60 == 7 => Answer::BusyForOneSecond,
        (_, 1) if page % 15 == 4 => Answer::HangUp,
        (_, 1) if page % 50 == 11 => Answer::HalfPage,
        _ if page % 20 == 5 => Answer::SlowPage,
        _ => Answer::Page,
    }
}

/// Starts the server, which ends with the process. Returns the URLs of its pages, and of those that do not exist.
pub(crate) fn start() -> io::Result<(Vec<String>, Vec<String>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || serve(&listener));
    let url = |page| format!("http://{address}/page/{page}");
    Ok(((1..=PAGES).map(url).collect(), vec![url(MISSING)]))
}

fn serve(listener: &TcpListener) {
    let requests = [const { AtomicU32::new(0) }; PAGES + 1];
    // Each connection has its thread, so that a slow page holds no other up.
    thread::scope(|connections| {
        for stream in listener.incoming().flatten() {
            connections.spawn(|| answer(stream, &requests));
        }
    });
}

fn answer(mut stream: TcpStream, requests: &[AtomicU32]) -> io::Result<()> {
    let page = requested_page(&stream)?;
    // ORDERING: Relaxed, as a count guards nothing but itself.
    let nth = requests[page].fetch_add(1, Ordering::Relaxed) + 1;
    let whole = response("200 OK", &format!("This is page {page}.\n").repeat(50));
    let answer = match script(page, nth) {
        Answer::Page => whole,
        Answer::SlowPage => {
            thread::sleep(Duration::from_millis(250));
            whole
        }
        Answer::HalfPage => whole[..whole.len() / 2].to_owned(),
        Answer::HangUp => String::new(),
        Answer::Busy => response("503 Service Unavailable", ""),
        Answer::BusyForOneSecond => response("503 Service Unavailable\r\nRetry-After: 1", ""),
        Answer::NotFound => response("404 Not Found", ""),
    };
    stream.write_all(answer.as_bytes())
}

/// Reads the whole request: closing a connection with unread bytes would reset it.
fn requested_page(stream: &TcpStream) -> io::Result<usize> {
    let mut request = String::new();
    let mut reader = BufReader::new(stream);
    while !request.ends_with("\r\n\r\n") && reader.read_line(&mut request)? > 0 {}
    let path = request.split(' ').nth(1);
    let page = path.and_then(|path| path.strip_prefix("/page/")?.parse().ok());
    let page = page.filter(|page| (1..=PAGES).contains(page));
    page.ok_or(io::ErrorKind::InvalidData.into())
}

fn response(head: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
}
