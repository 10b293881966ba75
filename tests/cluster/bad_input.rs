//! What a client should not send through REST: it gets a typed refusal, the coordinator's memory stays bounded, and others are served.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use crate::support::cluster::{Cluster, Options};
use crate::support::rest::Rest;

/// What a coordinator may grow by whatever is sent: buffers of a few connections, and the allocator's slack.
const GROWTH_MAX: u64 = 96 << 20;

async fn started() -> (Cluster, Rest) {
    let cluster = Cluster::start(Options::executors(1)).await;
    let rest = Rest::new(cluster.url());
    // Everything that is made once is there.
    rest.sql("select 1").await.rows();
    (cluster, rest)
}

fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the coordinator lives");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its memory");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") << 10
}

/// Runs what is bad, while another client is served, and checks the coordinator's memory.
async fn others_are_served<T: Send + 'static>(
    cluster: &Cluster,
    rest: &Rest,
    bad: impl FnOnce(String) -> T + Send + 'static,
) -> T {
    let address = cluster.url().trim_start_matches("http://").to_owned();
    let before = resident_bytes(cluster.coordinator_pid());
    let mut running = tokio::task::spawn_blocking(move || bad(address));
    let mut peak = before;
    let outcome = loop {
        tokio::select! {
            outcome = &mut running => break outcome.expect("the bad client panicked"),
            () = tokio::time::sleep(Duration::from_millis(50)) => {
                assert_eq!(rest.sql("select 1").await.rows().len(), 1);
                peak = peak.max(resident_bytes(cluster.coordinator_pid()));
            }
        }
    };
    assert_eq!(rest.sql("select 1").await.rows().len(), 1);
    peak = peak.max(resident_bytes(cluster.coordinator_pid()));
    assert!(peak < before + GROWTH_MAX, "the coordinator grew from {before} to {peak} bytes");
    outcome
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    stream.set_write_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    stream
}

/// Writes as long as the server takes it, and returns how much that was.
fn write_until_refused(stream: &mut TcpStream, piece: &[u8], most: usize) -> usize {
    let mut written = 0;
    while written < most {
        match stream.write(piece) {
            Ok(bytes) => written += bytes,
            Err(_) => break,
        }
    }
    written
}

/// The answer up to its end, or what there is of it when the connection is reset.
fn answer(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(bytes) => all.extend_from_slice(&piece[..bytes]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("no answer: {error}"),
        }
        let text = String::from_utf8_lossy(&all);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            if length.is_some_and(|length| body.len() >= length) {
                break;
            }
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

fn status_of(answer: &str) -> Option<u16> {
    answer.split_whitespace().nth(1)?.parse().ok()
}

const POST: &str = "POST /api/v2/statements HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_gigabyte_is_refused_before_it_is_taken() {
    let (cluster, rest) = started().await;
    // Announced: not a byte is read.
    let announced = others_are_served(&cluster, &rest, |address| {
        let mut stream = connect(&address);
        write!(stream, "{POST}content-length: {}\r\n\r\n", 1 << 30).expect("it takes the head");
        answer(&mut stream)
    });
    let announced = announced.await;
    assert_eq!(status_of(&announced), Some(413), "{announced}");
    assert!(announced.contains("\"sqlState\":\"22023\""), "{announced}");
    // Not announced: in chunks, a gigabyte if it were taken.
    let (written, answered) = others_are_served(&cluster, &rest, |address| {
        let mut stream = connect(&address);
        write!(stream, "{POST}transfer-encoding: chunked\r\n\r\n").expect("it takes the head");
        let mut chunk = b"10000\r\n".to_vec();
        chunk.extend(std::iter::repeat_n(b' ', 0x10000));
        chunk.extend_from_slice(b"\r\n");
        let written = write_until_refused(&mut stream, &chunk, 1 << 30);
        (written, answer(&mut stream))
    })
    .await;
    assert!(written < 64 << 20, "{written} bytes were taken");
    assert!(answered.is_empty() || status_of(&answered) == Some(413), "{answered}");
    // Forty at once.
    others_are_served(&cluster, &rest, |address| {
        let clients: Vec<_> = (0..40)
            .map(|_| {
                let address = address.clone();
                std::thread::spawn(move || {
                    let mut stream = connect(&address);
                    let _ = write!(stream, "{POST}transfer-encoding: chunked\r\n\r\n");
                    write_until_refused(&mut stream, b"1000\r\n", 1 << 20)
                })
            })
            .collect();
        clients.into_iter().for_each(|client| drop(client.join()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_told_so() {
    let (cluster, rest) = started().await;
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    let zeros = vec![b' '; 1 << 20];
    for _ in 0..256 {
        bomb.write_all(&zeros).expect("memory takes it");
    }
    let bomb = bomb.finish().expect("memory takes it");
    assert!(bomb.len() < 1 << 20);
    let deep = |open: &str, close: &str| {
        format!("{{\"statement\": \"select 1\", \"bindings\": {}1{}}}", open.repeat(100_000), close.repeat(100_000))
            .into_bytes()
    };
    let before = resident_bytes(cluster.coordinator_pid());
    for (name, kind, encoding, body, status) in [
        ("half of it", "application/json", "", b"{\"statement\": \"select 1".to_vec(), 400),
        ("not JSON", "application/json", "", b"select 1".to_vec(), 400),
        ("an array", "application/json", "", b"[\"select 1\"]".to_vec(), 400),
        (
            "twice the field",
            "application/json",
            "",
            b"{\"statement\": \"select 1\", \"statement\": \"select 2\"}".to_vec(),
            400,
        ),
        (
            "an unknown field",
            "application/json",
            "",
            b"{\"statement\": \"select 1\", \"warhouse\": \"w\"}".to_vec(),
            400,
        ),
        ("bad UTF-8", "application/json", "", b"{\"statement\": \"select '\xff\xfe'\"}".to_vec(), 400),
        ("half a surrogate", "application/json", "", br#"{"statement": "select '\ud800'"}"#.to_vec(), 400),
        ("deep arrays", "application/json", "", deep("[", "]"), 400),
        ("deep objects", "application/json", "", deep("{\"a\":", "}"), 400),
        ("deep and open", "application/json", "", deep("[", ""), 400),
        ("a bomb", "application/json", "gzip", bomb.clone(), 415),
        ("a bomb as JSON", "application/json", "", bomb, 400),
        ("a form", "application/x-www-form-urlencoded", "", b"statement=select+1".to_vec(), 415),
        ("nothing", "application/json", "", Vec::new(), 400),
        ("a NUL", "application/json", "", b"{\"statement\": \"select 1\0\"}".to_vec(), 400),
        ("a huge number", "application/json", "", b"{\"statement\": \"select 1\", \"timeout\": 1e400}".to_vec(), 400),
    ] {
        let mut request = rest.http().post(rest.url("/api/v2/statements")).header("content-type", kind).body(body);
        if !encoding.is_empty() {
            request = request.header("content-encoding", encoding);
        }
        let answered = rest.send(request).await;
        assert_eq!((answered.status, answered.sql_state()), (status, "22023"), "{name}: {answered:?}");
        assert!(answered.message().len() < 1000, "{name}: {answered:?}");
    }
    for path in ["/api/v2/statements/..%2f..%2fetc", "/api/v2/statements/%ff%fe", "/api/v2/statements/%00", "/%"] {
        let answered = rest.get(path).await;
        assert!([400, 404].contains(&answered.status), "{path}: {answered:?}");
    }
    assert_eq!(rest.sql("select 1").await.rows().len(), 1);
    let after = resident_bytes(cluster.coordinator_pid());
    assert!(after < before + GROWTH_MAX, "the coordinator grew from {before} to {after} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_slow_is_left_behind() {
    let (cluster, rest) = started().await;
    let started = Instant::now();
    others_are_served(&cluster, &rest, |address| {
        let mut heads: Vec<TcpStream> = (0..100).map(|_| connect(&address)).collect();
        let mut bodies: Vec<TcpStream> = (0..20).map(|_| connect(&address)).collect();
        heads.iter_mut().for_each(|stream| stream.write_all(b"POST /api/v2/state").expect("it is taken"));
        bodies
            .iter_mut()
            .for_each(|stream| write!(stream, "{POST}content-length: 1000\r\n\r\n{{").expect("it is taken"));
        // A byte now and then does not buy more time.
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut ended = 0;
        while ended < bodies.len() {
            assert!(Instant::now() < deadline, "{ended} of the slow bodies were given up");
            ended = 0;
            for stream in &mut bodies {
                let _ = stream.write(b" ");
                stream.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout");
                let mut answer = [0; 2048];
                match stream.peek(&mut answer) {
                    Ok(bytes) => {
                        let text = String::from_utf8_lossy(&answer[..bytes]);
                        assert!(bytes == 0 || status_of(&text) == Some(408), "{text}");
                        ended += 1;
                    }
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                    Err(_) => ended += 1,
                }
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        for stream in &mut heads {
            stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
            let mut answer = [0; 256];
            assert!(matches!(stream.read(&mut answer), Ok(0) | Err(_)), "it is closed without an answer");
        }
    })
    .await;
    assert!(started.elapsed() < Duration::from_secs(90));
}

/// An HTTP/2 frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

fn greeting() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    bytes
}

/// `GET / http` of the static table, and an authority.
fn get_headers() -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x84, 0x41, 4];
    block.extend_from_slice(b"here");
    block
}

const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_http_2_are_cut_off() {
    let (cluster, rest) = started().await;
    /// Frames of one kind after the other, until the server has had enough.
    type Flood = (&'static str, fn(u32) -> Vec<u8>);
    let floods: [Flood; 5] = [
        ("rapid reset", |number| {
            let stream = 2 * number + 1;
            let mut frames = frame(HEADERS, 5, stream, &get_headers());
            frames.extend(frame(RESET, 0, stream, &8u32.to_be_bytes()));
            frames
        }),
        ("headers without an end", |number| match number {
            0 => frame(HEADERS, 1, 1, &get_headers()),
            _ => frame(CONTINUATION, 0, 1, &[0x00; 3].repeat(4000)),
        }),
        ("empty continuations", |number| match number {
            0 => frame(HEADERS, 1, 1, &get_headers()),
            _ => frame(CONTINUATION, 0, 1, &[]),
        }),
        ("streams that are never ended", |number| frame(HEADERS, 4, 2 * number + 1, &get_headers())),
        ("resets of streams that never were", |number| frame(RESET, 0, 2 * number + 1, &8u32.to_be_bytes())),
    ];
    for (name, flood) in floods {
        let taken = others_are_served(&cluster, &rest, move |address| {
            let mut stream = connect(&address);
            let mut reader = stream.try_clone().expect("a second handle");
            // What it answers is read, so that it is not its own answers that stop it.
            let reading = std::thread::spawn(move || {
                let mut piece = [0; 65536];
                while matches!(reader.read(&mut piece), Ok(1..)) {}
            });
            stream.write_all(&greeting()).expect("it speaks HTTP/2");
            let mut frames = 0;
            while frames < 1_000_000 && stream.write_all(&flood(frames)).is_ok() {
                frames += 1;
            }
            drop(stream.shutdown(std::net::Shutdown::Both));
            let _ = reading.join();
            frames
        })
        .await;
        assert!(taken < 1_000_000, "{name}: it never had enough");
    }
    // Settings and pings are answered, one for one, by whoever reads the answers: a flood of them costs, and holds nothing.
    others_are_served(&cluster, &rest, |address| {
        let mut stream = connect(&address);
        stream.write_all(&greeting()).expect("it speaks HTTP/2");
        // Nobody reads: the answers may not pile up.
        let mut both = frame(SETTINGS, 0, 0, &[]);
        both.extend(frame(PING, 0, 0, &[0; 8]));
        stream.set_write_timeout(Some(Duration::from_secs(2))).expect("a timeout");
        let piece = both.repeat(1000);
        write_until_refused(&mut stream, &piece, 256 << 20)
    })
    .await;
    // A head that is too large.
    let status = others_are_served(&cluster, &rest, |address| {
        let mut stream = connect(&address);
        let head = format!("GET /api/v2/health HTTP/1.1\r\nhost: {address}\r\nx: {}\r\n\r\n", "y".repeat(500_000));
        // It may be refused before it is all there.
        let _ = stream.write_all(head.as_bytes());
        let mut status = [0; 12];
        stream.read_exact(&mut status).map(|()| String::from_utf8_lossy(&status).into_owned())
    })
    .await;
    assert!(status.as_ref().map_or(true, |status| status == "HTTP/1.1 431"), "a huge head is refused: {status:?}");
}

/// In the style of the "big list of naughty strings".
const NAUGHTY: &[&str] = &[
    "",
    " ",
    "\t",
    "undefined",
    "null",
    "NULL",
    "(null)",
    "nil",
    "true",
    "0",
    "1/0",
    "-1",
    "NaN",
    "Infinity",
    "0x0",
    "1e1000",
    "'",
    "''",
    "\"",
    "\"\"",
    "`",
    "\\",
    "\\'",
    "\\\"",
    "%",
    "_",
    "$1",
    "$$",
    "$tag$x$tag$",
    "?",
    ":1",
    "@x",
    "#",
    ";",
    "--",
    "-- \n",
    "/*",
    "*/",
    "/* */",
    "'; drop table canary; --",
    "\"; drop table canary; --",
    "1; drop table canary",
    "' or 1=1 --",
    "') ; drop table canary ; --",
    "\\'; drop table canary; --",
    "`; drop table canary; --",
    "$$; drop table canary; $$",
    "';exec xp_cmdshell('x')--",
    "<script>alert(1)</script>",
    "&lt;",
    "${jndi:ldap://x}",
    "{{7*7}}",
    "../../../../etc/passwd",
    "C:\\con\\con",
    "file:///etc/passwd",
    "%00",
    "%s%n%p",
    "\u{0}",
    "a\u{0}b",
    "\u{1}",
    "\u{7f}",
    "\u{80}",
    "\u{85}",
    "\u{a0}",
    "\u{ad}",
    "\u{200b}",
    "\u{202e}drop",
    "\u{2028}",
    "\u{2066}x\u{2069}",
    "\u{feff}",
    "\u{fffd}",
    "\u{ffff}",
    "\u{10ffff}",
    "é",
    "e\u{301}",
    "İ",
    "ı",
    "ß",
    "ﬀ",
    "Ⅷ",
    "田中さん",
    "בראשית",
    "مُنَاقَشَةُ",
    "\u{1f980}",
    "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
    "🇺🇸",
    "Z\u{351}\u{36b}\u{343}a\u{33d}\u{342}l\u{353}g\u{33a}o",
    "ʇuoɹɟ",
    "\r\n",
    "a\nb",
    "\u{b}",
    "SELECT",
    "select",
    "Table",
    "a.b",
    "a.b.c",
    "*",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    "=",
    "<>",
];

#[tokio::test(flavor = "multi_thread")]
async fn naughty_strings_come_back_and_run_nothing() {
    let (_cluster, rest) = started().await;
    rest.sql("create table canary (a int)").await.rows();
    rest.sql("create table kept (n int, t text)").await.rows();
    for (number, text) in NAUGHTY.iter().enumerate() {
        // As a literal and a name, each in its quotes; as a bound value; as tag, database, schema, role.
        let literal = format!("'{}'", text.replace('\'', "''"));
        let name = format!("\"{}\"", text.replace('"', "\"\""));
        let answered = rest.sql(&format!("select {literal} as {name}")).await;
        if answered.status == 200 {
            assert_eq!(answered.cells(), [Some((*text).to_owned())], "{text:?}");
            assert_eq!(answered.body["resultSetMetaData"]["rowType"][0]["name"], *text, "{text:?}");
        } else {
            assert!([400, 422].contains(&answered.status) && answered.sql_state() != "XX000", "{text:?}: {answered:?}");
        }
        let bindings =
            json!({ "1": { "type": "FIXED", "value": number.to_string() }, "2": { "type": "TEXT", "value": text } });
        let body =
            json!({ "statement": "select ? as n, ? as t", "bindings": bindings, "parameters": { "query_tag": text } });
        let bound = rest.submit(&body).await;
        assert_eq!(bound.cells(), [Some(number.to_string()), Some((*text).to_owned())], "{text:?}");
        let body = json!({ "statement": "insert into kept values (?, ?)", "bindings": bindings });
        assert_eq!(rest.submit(&body).await.status, 200, "{text:?}");
        for field in ["database", "schema", "warehouse"] {
            let mut body = json!({ "statement": "select 1" });
            body[field] = json!(text);
            let answered = rest.submit(&body).await;
            assert!(
                [200, 400, 422].contains(&answered.status) && answered.sql_state() != "XX000",
                "{field} {text:?}: {answered:?}"
            );
        }
        // As it is: it may be SQL by chance, and never what it says of the canary.
        let answered = rest.sql(text).await;
        assert!(
            [200, 400, 422].contains(&answered.status) && answered.sql_state() != "XX000",
            "{text:?}: {answered:?}"
        );
        let created = rest.sql(&format!("create table {name} (a int)")).await;
        if created.status == 200 {
            assert_eq!(rest.sql(&format!("select count(*) from {name}")).await.rows().len(), 1, "{text:?}");
            assert_eq!(rest.sql(&format!("drop table {name}")).await.status, 200, "{text:?}");
        } else {
            assert!([400, 422].contains(&created.status) && created.sql_state() != "XX000", "{text:?}: {created:?}");
        }
    }
    let kept = rest.sql("select n, t from kept order by n").await.rows();
    assert_eq!(kept.len(), NAUGHTY.len());
    for (row, text) in kept.iter().zip(NAUGHTY) {
        assert_eq!(row[1].as_deref(), Some(*text));
    }
    assert_eq!(rest.sql("select count(*) from canary").await.rows().len(), 1, "the canary lives");
}
