//! Static files and echoes (the reference's 11.1).

use crate::harness::TempDir;
use crate::harness::gateway::{Gateway, command};
use crate::harness::h2::Http2;
use crate::harness::http::request;
use crate::harness::site::Site;
use crate::harness::sse::Over;
use std::fs;
use std::os::unix::fs::symlink;

/// A gateway over `files/`, next to which lies what nobody may see, and a link to it.
fn serve(site: &Site) -> Gateway {
    let dir = TempDir::new();
    let files = dir.path().join("files");
    fs::create_dir_all(files.join("sub")).expect("a directory");
    dir.file("secret.txt", "secret");
    for (name, text) in [
        ("index.html", "<p>ü</p>"),
        ("app.js", "1"),
        ("sub/a b.txt", "spaced"),
        ("empty", ""),
    ] {
        fs::write(files.join(name), text).expect("a file");
    }
    let big: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(files.join("big.bin"), big).expect("a file");
    symlink("../secret.txt", files.join("link")).expect("a link");
    symlink("/etc/passwd", files.join("absolute")).expect("a link");
    symlink("..", files.join("up")).expect("a link");
    symlink("app.js", files.join("alias.js")).expect("a link");
    let file = dir.file("zilla.yaml", &site.yaml());
    let mut start = command();
    start.args(["start", "--cores", "none:2", "-c"]).arg(&file);
    Gateway::spawn(&mut start, dir)
}

pub(crate) fn files_are_served_and_known_again() {
    let gateway = serve(&Site::default().files("/{path}", "files"));
    for over in Over::BOTH {
        let get =
            |path: &str, headers: &[(&str, &str)]| over.request(&gateway, "GET", path, headers);
        let page = get("/index.html?v=1", &[]).expect(200);
        assert_eq!(page.text(), "<p>ü</p>");
        let kind = page.header("content-type").unwrap_or_default();
        assert!(kind.starts_with("text/html"), "{kind}");
        assert_eq!(page.header("content-length"), Some("9"));
        let etag = page.etag();
        for known in [
            etag.clone(),
            format!("W/{etag}"),
            format!("\"x\", {etag}"),
            "*".to_owned(),
        ] {
            let answer = get("/index.html", &[("if-none-match", &known)]).expect(304);
            assert!(answer.body.is_empty());
            assert_eq!(answer.etag(), etag);
        }
        get("/index.html", &[("if-none-match", "\"x\"")]).expect(200);
        let head = over
            .request(&gateway, "HEAD", "/index.html", &[])
            .expect(200);
        assert_eq!(head.header("content-length"), Some("9"));
        assert_eq!(head.etag(), etag);
        assert!(head.body.is_empty());
        over.request(&gateway, "HEAD", "/nothing", &[]).expect(404);
        assert_eq!(get("/sub/a%20b.txt", &[]).expect(200).text(), "spaced");
        assert_eq!(get("/alias.js", &[]).expect(200).text(), "1");
        assert!(get("/empty", &[]).expect(200).body.is_empty());
        for method in ["POST", "PUT", "DELETE"] {
            let answer = over.request(&gateway, method, "/app.js", &[]).expect(405);
            assert_eq!(answer.header("allow"), Some("GET, HEAD"));
        }
        let big = over.request(&gateway, "HEAD", "/big.bin", &[]).expect(200);
        assert_eq!(big.header("content-length"), Some("4000000"));
        let big = get("/big.bin", &[]).expect(200);
        assert_eq!(big.header("content-length"), Some("4000000"));
        let big = big.body;
        assert_eq!(big.len(), 4_000_000);
        let right = big.chunks_exact(4).zip(0..1_000_000_u32);
        assert!(right.into_iter().all(|(bytes, n)| bytes == n.to_le_bytes()));
    }
}

pub(crate) fn nothing_outside_of_the_directory_is_served() {
    let gateway = serve(&Site::default().files("/{path}", "files"));
    let paths = [
        "/../secret.txt",
        "/sub/../../secret.txt",
        "/..%2fsecret.txt",
        "/%2e%2e/secret.txt",
        "/%2e%2e%2fsecret.txt",
        "/sub/%2e%2e/%2e%2e/secret.txt",
        "/..%5csecret.txt",
        "/%252e%252e/secret.txt",
        "/..%00/secret.txt",
        "/app.js%00.txt",
        "/link",
        "/absolute",
        "/up/secret.txt",
        "/up/files/app.js",
        "//etc/passwd",
        "/%2fetc%2fpasswd",
        "/sub",
        "/sub/",
        "/",
        "/.",
        "/sub/./a%20b.txt",
        "/app.js/",
        "/app.js/x",
        "/nothing",
    ];
    for path in paths {
        let mut raw = gateway.http().connect();
        raw.send(request("GET", path, &[], None));
        let answer = raw.receive("GET").expect("an answer");
        assert!(matches!(answer.status, 400 | 404), "{path} {answer:?}");
        let text = answer.text();
        assert!(
            !text.contains("secret\n") && text != "secret" && !text.contains("root:"),
            "{path}"
        );
        let client = Http2::connect(gateway.address());
        if let Ok(answer) = client.try_request("GET", path, &[], None) {
            assert!(matches!(answer.status, 400 | 404), "{path} {answer:?}");
        }
    }
    gateway.http().get("/app.js").expect(200);
}

/// Zilla's `http.echo`: what comes is sent back.
pub(crate) fn an_echo_answers_with_what_it_is_sent() {
    let gateway = Site::default().echo("/echo", "").start("");
    let body: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let headers = [("content-type", "x/y"), ("x-own", "z")];
    let http1 = gateway
        .http()
        .request("POST", "/echo?a=1", &headers, Some(&body));
    let client = Http2::connect(gateway.address());
    let http2 = client.request("POST", "/echo?a=1", &headers, Some(&body));
    for answer in [http1, http2] {
        let answer = answer.expect(200);
        assert!(answer.body == body);
        assert_eq!(answer.header("content-type"), Some("x/y"));
        assert_eq!(answer.header("x-own"), Some("z"));
    }
    assert!(client.get("/echo").expect(200).body.is_empty());
    client.get("/other").expect(404);
}
